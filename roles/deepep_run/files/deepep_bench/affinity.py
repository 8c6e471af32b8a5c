"""Binds a rank to the CPUs beside its GPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Mapping, Sequence

import torch

_DEVICES = Path("/sys/bus/pci/devices")


def bind(device: torch.device, devices: Path = _DEVICES) -> dict[str, str | None]:
    """Returns {"gpu", "numa_node", "cpus", "unbound"}: where this process runs now, and why it may run beside
    another GPU; null where it may not, or has none. Threads that are started afterwards run there, too."""
    address = _pci_address(device)
    folder = devices / address if address else None
    near = _cpus(_word(folder / "local_cpulist")) if folder else set()
    allowed = os.sched_getaffinity(0)
    unbound = None
    if near & allowed:
        os.sched_setaffinity(0, near & allowed)
    elif device.type == "cuda":
        unbound = _why(address, near)
    return {
        "gpu": address,
        "numa_node": _word(folder / "numa_node") or None if folder else None,
        "cpus": _text(os.sched_getaffinity(0)),
        "unbound": unbound,
    }


def notes(places: Sequence[tuple[int, Mapping[str, str | None]]]) -> list[str]:
    """A sentence for each reason why ranks are not bound; places: (rank, what ``bind`` returned)."""
    ranks: dict[str, list[str]] = {}
    for rank, place in places:
        reason = place.get("unbound")
        if reason:
            ranks.setdefault(reason, []).append(str(rank))
    return [
        f"rank{'s' if len(which) > 1 else ''} {', '.join(which)} not bound to the CPUs beside the GPU: "
        f"{reason}"
        for reason, which in ranks.items()
    ]


def _why(address: str | None, near: set[int]) -> str:
    if address is None:
        return "this torch does not tell the GPU's PCI address"
    if not near:
        return "the kernel names none"
    return f"this process may use none of {_text(near)}"


def _pci_address(device: torch.device) -> str | None:
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    numbers = [getattr(properties, name, None) for name in ("pci_domain_id", "pci_bus_id", "pci_device_id")]
    if None in numbers:
        return None  # an older torch does not tell
    return "{:04x}:{:02x}:{:02x}.0".format(*numbers)


def _word(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _cpus(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            found.update(range(int(first), int(last or first) + 1))
    return found


def _text(cpus: set[int]) -> str:
    """As the kernel writes it: 0-3,8."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and cpu == parts[-1][1] + 1:
            parts[-1][1] = cpu
        else:
            parts.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
