"""Which links tokens can take on this host, from the kernel's own files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, MutableMapping

from .config import Config
from .errors import RefusedError
from .world import World

_INFINIBAND = Path("/sys/class/infiniband")
TRANSPORT = "NVSHMEM_REMOTE_TRANSPORT"


@dataclass(frozen=True)
class RdmaPort:
    """One port of an RDMA device. state: ACTIVE, DOWN ...; rate as the kernel writes it."""

    device: str
    port: str
    state: str
    rate: str
    link_layer: str

    @property
    def active(self) -> bool:
        return self.state == "ACTIVE"

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def rdma_ports(root: Path = _INFINIBAND) -> list[RdmaPort]:
    """Every port of every RDMA device, sorted; empty where there is none or it cannot be read."""
    ports = []
    for folder in sorted(root.glob("*/ports/*")):
        state = _word(folder / "state").rpartition(":")[2].strip()  # "4: ACTIVE"
        ports.append(
            RdmaPort(
                folder.parent.parent.name,
                folder.name,
                state,
                _word(folder / "rate"),
                _word(folder / "link_layer"),
            )
        )
    return ports


def refuse_unless_connected(
    config: Config, world: World, ports: list[RdmaPort], rdma_alone: bool = False
) -> None:
    """Tokens must have a way to every rank. rdma_alone: the kernels have no other one between hosts.

    :raises RefusedError: the network is needed and no RDMA port of this host is active
    """
    if any(port.active for port in ports):
        return
    if world.num_hosts > 1 and rdma_alone:
        why = f"V1 standard on {world.size} ranks"
        way_out = "use deepep_v2 where NVLink spans the hosts"
    elif world.num_hosts > 1 and not config.allow_mnnvl:
        why = f"{world.num_hosts} hosts without allow_mnnvl"
        way_out = "run on one host, or set allow_mnnvl = true where NVLink spans the hosts"
    elif config.mode == "low_latency" and not config.allow_nvlink_for_low_latency:
        why = "low latency with allow_nvlink_for_low_latency = false"
        way_out = "set allow_nvlink_for_low_latency = true"
    else:
        return
    found = ", ".join(f"{port.device} port {port.port} is {port.state}" for port in ports) or "none"
    raise RefusedError(
        f"{why} needs an active RDMA device on every host; on {world.host}: {found}. {way_out[0].upper()}"
        f"{way_out[1:]}, or bring a device up (ibstat)"
    )


def settle_nvshmem(
    config: Config, world: World, ports: list[RdmaPort], environ: MutableMapping[str, str]
) -> str | None:
    """Tell NVSHMEM not to look for a network that is not there; a sentence for the record when it was told.

    One host, NVLink on, no active device: without this, NVSHMEM stops where it finds no transport.
    """
    needed = world.num_hosts == 1 and not any(port.active for port in ports)
    if config.mode != "low_latency" or not needed or TRANSPORT in environ:
        return None
    environ[TRANSPORT] = "none"
    return (
        f"{TRANSPORT}=none was set: one host, NVLink on, no active RDMA device (the message 'init failed for "
        "transport: IBGDA' is then harmless)"
    )


def _word(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return "unknown"
