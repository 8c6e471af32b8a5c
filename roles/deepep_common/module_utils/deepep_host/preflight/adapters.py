"""RDMA network adapters as ``/sys/class/infiniband`` and ``ibv_devinfo`` show them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .probe import Probe

TREE = "/sys/class/infiniband"
ZERO_GID = "0000:0000:0000:0000:0000:0000:0000:0000"
_GIDS_READ = 16
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*Gb")


class Gid(NamedTuple):
    """An entry of a port's GID table. ``kind``: ``IB/RoCE v1`` or ``RoCE v2``; ``ipv4`` where it maps one."""

    number: int
    value: str
    kind: str
    ipv4: str | None


class Port(NamedTuple):
    """One port of an adapter; ``layer``: ``InfiniBand``, ``Ethernet``, or ``Unknown`` (EFA)."""

    number: int
    state: str
    physical: str
    rate_gbit: float | None
    rate: str
    layer: str
    gids: tuple[Gid, ...]
    pkey: int | None
    """The key at index 0; None where the port has none (Ethernet, EFA)."""

    @property
    def active(self) -> bool:
        """Whether it carries traffic."""
        return self.state.endswith("ACTIVE")


class Adapter(NamedTuple):
    """One adapter. ``kind`` is its part (``MT4129``), or ``EFA``."""

    name: str
    kind: str
    board: str
    firmware: str
    pci: str | None
    netdevs: tuple[str, ...]
    ports: tuple[Port, ...]

    @property
    def rate(self) -> float:
        """Gb/s of its fastest port."""
        return max((port.rate_gbit or 0 for port in self.ports), default=0)

    @property
    def active(self) -> bool:
        """Whether any port carries traffic."""
        return any(port.active for port in self.ports)


def read_adapters(probe: Probe) -> list[Adapter]:
    """Returns all adapters in the order of their numbers."""
    return sorted((_adapter(probe, name) for name in probe.names(TREE)), key=lambda one: _natural(one.name))


def _adapter(probe: Probe, name: str) -> Adapter:
    top = f"{TREE}/{name}"
    uevent = dict(
        line.split("=", 1) for line in (probe.read(f"{top}/device/uevent") or "").splitlines() if "=" in line
    )
    kind = probe.read(f"{top}/hca_type") or ("EFA" if uevent.get("DRIVER") == "efa" else "unknown")
    ports = [int(number) for number in probe.names(f"{top}/ports") if number.isdigit()]
    return Adapter(
        name=name,
        kind=kind,
        board=probe.read(f"{top}/board_id") or "",
        firmware=probe.read(f"{top}/fw_ver") or "",
        pci=uevent.get("PCI_SLOT_NAME"),
        netdevs=tuple(probe.names(f"{top}/device/net")),
        ports=tuple(_port(probe, f"{top}/ports/{number}", number) for number in sorted(ports)),
    )


def _port(probe: Probe, top: str, number: int) -> Port:
    rate = probe.read(f"{top}/rate") or ""
    match = _RATE.match(rate)
    pkey = probe.read(f"{top}/pkeys/0")
    return Port(
        number=number,
        state=(probe.read(f"{top}/state") or "").partition(":")[2].strip(),
        physical=(probe.read(f"{top}/phys_state") or "").partition(":")[2].strip(),
        rate_gbit=float(match.group(1)) if match else None,
        rate=rate,
        layer=probe.read(f"{top}/link_layer") or "Unknown",
        gids=tuple(_gids(probe, top)),
        pkey=int(pkey, 16) if pkey and re.fullmatch(r"0x[0-9a-fA-F]+", pkey) else None,
    )


def _gids(probe: Probe, top: str) -> Iterable[Gid]:
    for index in range(_GIDS_READ):
        value = probe.read(f"{top}/gids/{index}")
        if value and value != ZERO_GID:
            kind = probe.read(f"{top}/gid_attrs/types/{index}") or ""
            yield Gid(index, value, kind, _ipv4(value))


def _ipv4(gid: str) -> str | None:
    if not gid.startswith("0000:0000:0000:0000:0000:ffff:"):
        return None
    digits = gid.replace(":", "")[-8:]
    return ".".join(str(int(digits[place : place + 2], 16)) for place in range(0, 8, 2))


def choose(adapters: Sequence[Adapter], environment: Mapping[str, str]) -> tuple[list[Adapter], str]:
    """Returns the adapters that runs will use, and why these.

    Those that NCCL_IB_HCA or NVSHMEM_HCA_LIST name; else those of the most common kind (of two equally common
    ones the faster): a host also has adapters for storage and for its own network, which are left alone.
    """
    for variable in ("NVSHMEM_HCA_LIST", "NCCL_IB_HCA"):
        value = environment.get(variable, "").strip()
        if value:
            return [one for one in adapters if _selected(value, one, variable)], f"{variable}={value}"
    if not adapters:
        return [], ""
    counts = Counter((one.kind, one.board) for one in adapters)
    fastest = {key: max(one.rate for one in adapters if (one.kind, one.board) == key) for key in counts}
    best = max(counts, key=lambda key: (counts[key], fastest[key]))
    chosen = [one for one in adapters if (one.kind, one.board) == best]
    return chosen, f"{best[0]}, the most common kind" if len(counts) > 1 else best[0]


def _selected(value: str, adapter: Adapter, variable: str) -> bool:
    """Applies a selection as NCCL reads it: ``^`` excludes, ``=`` wants whole names, else beginnings."""
    excluded = value.startswith("^")
    value = value.lstrip("^")
    exact = value.startswith("=") or variable == "NVSHMEM_HCA_LIST"
    names = [part.split(":")[0].strip() for part in value.lstrip("=").split(",") if part.strip()]
    hit = any(adapter.name == name if exact else adapter.name.startswith(name) for name in names)
    return hit is not excluded


def active_mtus(devinfo: str) -> dict[str, int]:
    """Returns the MTU that each adapter's first port has agreed on, from ``ibv_devinfo``."""
    found: dict[str, int] = {}
    name = ""
    for line in devinfo.splitlines():
        head = re.match(r"hca_id:\s*(\S+)", line)
        if head:
            name = head.group(1)
        mtu = re.match(r"\s+active_mtu:\s*(\d+)", line)
        if mtu and name:
            found.setdefault(name, int(mtu.group(1)))
    return found


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name))
