"""Error counters of the RDMA adapters before and after a run: what rose tells which link is sick.

Plain reads of ``/sys/class/infiniband``, no command: the supervisor takes them, which waits for every child.
``logs/<host>.counters.json`` in the result tree has ``before`` and ``after``, by ``adapter/port/counter``,
and ``delta`` with what changed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .files import write_json

TREE = Path("/sys/class/infiniband")
FILE = "counters.json"
SCHEMA = 1

_KEPT = re.compile(
    r"err|discard|down|drop|timeout|retrans|out_of_sequence|out_of_buffer|nak|rcv_switch_relay|overrun|integrity"
    r"|cnp|ecn|xmit_wait|slow_restart|port_(xmit|rcv)_data"
)
"""Errors, congestion, and how much went through (``port_*_data`` counts in words of 4 bytes)."""


def read(tree: Path = TREE) -> dict[str, int]:
    """Returns all counters that tell of errors or traffic; {} without an adapter."""
    found: dict[str, int] = {}
    for group in ("counters", "hw_counters"):
        for path in sorted(tree.glob(f"*/ports/*/{group}/*")):
            if not _KEPT.search(path.name):
                continue
            try:
                value = int(path.read_text(encoding="ascii"))
            except (OSError, ValueError):
                # Some counters exist and cannot be read (N/A (no PMA)).
                continue
            adapter, _, port = path.relative_to(tree).parts[:3]
            found[f"{adapter}/{port}/{path.name}"] = value
    return found


def keep(path: Path, before: dict[str, int], tree: Path = TREE) -> None:
    """Reads the counters again and writes both readings to ``path``; without adapters there is no file."""
    after = read(tree)
    if before or after:
        write_json(path, compared(before, after))


def compared(before: dict[str, int], after: dict[str, int]) -> dict[str, Any]:
    """Returns what the file holds. A counter that fell (it was reset) has a negative delta."""
    changed = {
        name: after[name] - before[name] for name in before if name in after and after[name] != before[name]
    }
    return {"schema": SCHEMA, "before": before, "after": after, "delta": changed}
