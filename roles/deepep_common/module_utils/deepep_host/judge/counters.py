"""Error counters of adapters, NVLink and GPUs that rose while a run was under way."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .evidence import Evidence

_BAD = re.compile(
    r"err|xid|retrans|discard|down|drop|timeout|ecc|out_of_sequence|nak|crc|replay|recover", re.IGNORECASE
)


def counters_name(host: str) -> str:
    """Returns where a host's counters lie, relative to the run directory: ``before`` and ``after``."""
    return f"logs/{host}.counters.json"


def rose(evidence: Evidence) -> dict[str, list[str]]:
    """Returns in words what error counters rose, by host; a host without such counters is left out."""
    found = {}
    for host in evidence.hosts:
        value = evidence.read_json(counters_name(host))
        before, after = (value.get(key) if isinstance(value, dict) else None for key in ("before", "after"))
        if not isinstance(before, dict) or not isinstance(after, dict):
            continue
        words = [
            f"{name} rose by {after[name] - before[name]}"
            for name in sorted(set(before) & set(after), key=str)
            if _BAD.search(str(name))
            and all(isinstance(v, int) and not isinstance(v, bool) for v in (before[name], after[name]))
            and after[name] > before[name]
        ]
        if words:
            found[host] = words
    return found


def part_of(names: Iterable[str]) -> str:
    """Returns what kind of part such counters accuse: gpu, link or nic."""
    text = " ".join(names).lower()
    if "xid" in text or "ecc" in text:
        return "gpu"
    return "link" if "nvlink" in text else "nic"
