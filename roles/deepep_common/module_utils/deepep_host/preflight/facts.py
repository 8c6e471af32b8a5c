"""What a host is, as far as hosts must be alike: compared on the controller (:mod:`.across`)."""

from __future__ import annotations

from typing import Any

from .adapters import active_mtus
from .gpus import propose_nics
from .machine import DEVICES, Machine


def facts(machine: Machine) -> dict[str, Any]:
    """Returns models, versions and rates; what this host does not have, or was not asked for, is absent."""
    found: dict[str, Any] = {"hostname": machine.probe.hostname()}
    needs = machine.wanted.needs
    if "gpu" in needs and machine.smi is not None:
        gpus = machine.smi.gpus
        found["driver"] = machine.smi.driver
        found["gpus"] = [gpu.name for gpu in gpus]
        domains = sorted({f"{gpu.cluster}.{gpu.clique}" for gpu in gpus if gpu.cluster})
        if domains:
            found["nvlink_domains"] = domains
    if needs & {"rdma", "network"}:
        chosen = machine.chosen[0]
        mtus = active_mtus(machine.probe.ask(*DEVICES).out)
        found["adapters"] = [
            {
                "name": one.name,
                "kind": one.kind,
                "firmware": one.firmware,
                "rate_gbit": one.rate,
                "layer": one.ports[0].layer if one.ports else "Unknown",
                "active": one.active,
                "mtu": mtus.get(one.name),
            }
            for one in chosen
        ]
        topology = machine.topology
        if topology is not None and topology.nics:
            given = propose_nics(topology, [one.name for one in chosen if one.active])
            found["affinity"] = {
                str(gpu): {"adapter": name, "path": path} for gpu, (name, path) in given.items()
            }
    return found
