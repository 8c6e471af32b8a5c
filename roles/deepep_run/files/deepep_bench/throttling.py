"""Whether and how long a GPU was throttled: from samples, and from what the driver counts."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import Iterable, Mapping

_BITS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "too hot (software)",
    0x40: "too hot (hardware)",
    0x80: "power brake",
}
_COUNTERS = {
    "sw_power_cap": "power cap",
    "sw_therm_slowdown": "too hot (software)",
    "hw_therm_slowdown": "too hot (hardware)",
    "hw_power_brake": "power brake",
}
_END = "</nvidia_smi_log>"
_SHARE = 0.01  # of a part: less does not move a median


def active(texts: Iterable[str]) -> list[str]:
    """Reasons that any sample has; each text is nvidia-smi's mask, as "0x0000000000000004"."""
    bits = 0
    for text in texts:
        try:
            bits |= int(text, 16)
        except ValueError:
            continue  # "[N/A]"
    return [reason for bit, reason in _BITS.items() if bits & bit]


def counters(text: str) -> dict[str, dict[str, float]]:
    """Seconds since the driver was loaded, by GPU and reason, from ``nvidia-smi -q -x``.

    Empty where the driver does not count.
    """
    start, end = text.find("<nvidia_smi_log"), text.rfind(_END)
    try:
        root = ET.fromstring(text[start : end + len(_END)])  # noqa: S314 - nvidia-smi's own
    except ET.ParseError:
        return {}
    found: dict[str, dict[str, float]] = {}
    for gpu in root.iter("gpu"):
        counted = {}
        for element in gpu.iterfind("clocks_event_reasons_counters/*"):
            reason = _COUNTERS.get(element.tag.rpartition("reasons_counters_")[2])
            number, _, unit = (element.text or "").strip().partition(" ")
            if reason and number.isdigit() and unit == "us":
                counted[reason] = int(number) / 1e6
        if counted:
            found[gpu.findtext("uuid", "").strip()] = counted
    return found


@dataclass(frozen=True)
class Snapshot:
    """counters at a time (time.monotonic)."""

    at: float
    counted: Mapping[str, Mapping[str, float]]


@dataclass
class Throttled:
    """Counters at both ends of each part."""

    _begun: dict[str, Snapshot] = field(default_factory=dict)
    _ended: dict[str, Snapshot] = field(default_factory=dict)

    def begin(self, part: str, snapshot: Snapshot) -> None:
        self._begun[part] = snapshot

    def end(self, part: str, snapshot: Snapshot) -> None:
        self._ended[part] = snapshot

    def parts(self) -> list[str]:
        """Those that have ended."""
        return list(self._ended)

    def seconds(self, part: str, uuid: str) -> dict[str, float] | None:
        """Of each reason, and of the ``part`` itself; None where nobody counts, or it has not ended."""
        if part not in self._ended:
            return None
        begun, ended = self._begun[part], self._ended[part]
        first, last = begun.counted.get(uuid), ended.counted.get(uuid)
        if not first or not last:
            return None
        found = {reason: max(last[reason] - first[reason], 0.0) for reason in last if reason in first}
        return {**found, "part": ended.at - begun.at}


def reasons(seen: Iterable[str], counted: Mapping[str, float] | None) -> list[str]:
    """In words, those that were seen, or counted for long enough to matter."""
    found = dict.fromkeys(seen, "")
    for reason, seconds in (counted or {}).items():
        whole = (counted or {})["part"]
        if reason != "part" and (reason in found or seconds > _SHARE * whole):
            found[reason] = f" ({seconds:.2f} s of {whole:.2f} s)"
    return [f"{reason}{how_long}" for reason, how_long in found.items()]
