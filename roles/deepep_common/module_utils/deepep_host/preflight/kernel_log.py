"""Xid and SXid messages of the kernel log, and how bad they are.

Sources: NVIDIA, "Xid Errors"; the list of Azure/azurehpc-health-checks (conf/nd96isr_h100_v5.conf).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

WORDS = {
    48: "double-bit ECC error",
    56: "display engine error",
    57: "video memory interface error",
    58: "unstable video memory",
    62: "microcontroller halt",
    63: "row remapping or page retirement pending",
    64: "row remapping or page retirement failed",
    65: "video processor error",
    68: "NVDEC exception",
    69: "graphics engine class error",
    73: "NVENC3 error",
    74: "NVLink error",
    79: "GPU has fallen off the bus",
    80: "corrupted data sent to the GPU",
    81: "VGA subsystem error",
    92: "high rate of single-bit ECC errors",
    94: "contained ECC error",
    95: "uncontained ECC error",
    119: "GSP did not answer",
    120: "GSP error",
    140: "unrecovered ECC error",
    143: "GPU initialisation error",
    144: "NVLink SAW error",
    145: "NVLink RLW error",
    146: "NVLink TLW error",
    147: "NVLink TREX error",
    148: "NVLink NVLPW_CTRL error",
    149: "NVLink NETIR error",
    150: "NVLink MSE error",
}
"""Errors of the hardware or of the driver; others (13, 31, 43, 45 ...) are those of a program."""

NEEDS_RESET = frozenset({48, 62, 64, 74, 79, 80, 95, 119, 120, 140, 143})
"""After these a GPU is not to be used before it was reset (NVIDIA's recommended actions)."""

_XID = re.compile(
    r"(?:\[\s*(?P<s>\d+\.\d+)\]\s*)?.*NVRM: Xid \((?:PCI:)?(?P<bus>[0-9a-fA-F:.]+)\): (?P<xid>\d+)"
)
_SXID = re.compile(
    r"nvidia-nvswitch\d+: SXid \((?:PCI:)?[0-9a-fA-F:.]+\): (?P<sxid>\d+), (?P<kind>Fatal|Non-fatal)"
)


class Xid(NamedTuple):
    """One message: PCI address (without function), number, seconds after the boot where they are known."""

    bus: str
    number: int
    seconds: float | None


def xids(log: str) -> list[Xid]:
    """Returns the Xid messages of a kernel log that tell of hardware or driver, oldest first."""
    found = []
    for match in map(_XID.search, log.splitlines()):
        if match and int(match.group("xid")) in WORDS:
            seconds = match.group("s")
            found.append(
                Xid(match.group("bus").lower(), int(match.group("xid")), float(seconds) if seconds else None)
            )
    return found


def fatal_sxids(log: str) -> list[int]:
    """Returns the numbers of fatal NVSwitch errors."""
    matches = map(_SXID.search, log.splitlines())
    return [int(match.group("sxid")) for match in matches if match and match.group("kind") == "Fatal"]


def describe(messages: Iterable[Xid], uptime: float | None) -> str:
    """Returns ``Xid 79 (GPU has fallen off the bus) on 0000:1a:00, 2 times, last 3 h ago``, one per kind."""
    groups: dict[tuple[int, str], list[Xid]] = {}
    for message in messages:
        groups.setdefault((message.number, message.bus), []).append(message)
    texts = []
    for (number, bus), group in groups.items():
        text = f"Xid {number} ({WORDS[number]}) on {bus}"
        text += f", {len(group)} times" if len(group) > 1 else ""
        last = group[-1].seconds
        if last is not None and uptime is not None and uptime >= last:
            text += f", {'last ' if len(group) > 1 else ''}{_ago(uptime - last)} ago"
        texts.append(text)
    return "; ".join(texts)


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
