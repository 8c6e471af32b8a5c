"""What the catalogue says of one kind of error line."""

from __future__ import annotations

from re import Pattern
from typing import NamedTuple


class Signature(NamedTuple):
    """One kind of error line.

    It is found by a literal ``anchor`` first, which is fast in long logs, then by its ``pattern`` on the
    anchor's line where the anchor alone is too broad.

    ``victim`` marks what a rank says when *another* one has failed: never taken for the cause while a better
    one is known. ``suspect`` finds whom such a line accuses, by named groups: ``rank`` (global), or ``node``
    (the host's number) with or without ``gpu`` (the rank on its host), or ``gpu`` on the speaker's own host,
    ``own``; ``waited`` is the rank that says of itself that it waited. ``part`` is what is at fault: gpu,
    nic, link, memory, disk, process, software, configuration, or nothing where the line does not tell.
    ``harmless_without_network``: it says nothing of a run on one host that does without RDMA.
    """

    id: str
    anchors: tuple[bytes, ...]
    meaning: str
    cause: str
    remedy: str
    source: str
    pattern: Pattern[bytes] | None = None
    victim: bool = False
    suspect: Pattern[bytes] | None = None
    part: str = ""
    harmless_without_network: bool = False


class Group(NamedTuple):
    """The signatures of one part of the software."""

    title: str
    signatures: tuple[Signature, ...]


PEER = "look at the other hosts' logs: the first rank that failed is the cause"
KERNEL = "the accused peer did not answer: look at its log, its GPU (Xid in dmesg) and its link"
NET = "check the master interface (deepep_master_interface), the firewall, and that all hosts started"
