"""NVLink and NVSwitch: what DeepEP's ranks on one host, or in one NVLink domain, talk through."""

from __future__ import annotations

from ..machine import FABRIC_MANAGER, NVLINK, Machine, Wanted
from ..model import Outcome, fail, ok, unknown, warn

LINKS = (
    ("H800", 8),
    ("A800", 8),
    ("A100-SXM4", 12),
    ("H100 80GB HBM3", 18),
    ("H100 64GB", 18),
    ("H200", 18),
    ("H20", 18),
    ("GH200", 18),
    ("B200", 18),
    ("B300", 18),
)
"""NVLinks of a GPU by a part of its name; GB200 and GB300 contain B200 and B300. PCIe cards are not here."""


def links(machine: Machine, wanted: Wanted) -> Outcome:
    """All links of all GPUs are up, and every GPU reaches every other one through NVLink."""
    smi = machine.smi
    if smi is None or not smi.gpus:
        return unknown("nvidia-smi shows no GPU")
    found = machine.nvlinks
    if not found:
        said = machine.probe.ask(*NVLINK)
        if said.code != 0:
            return unknown(
                f"nvidia-smi nvlink -s: {said.error or said.out or said.code}".strip().splitlines()[0]
            )
        return fail(f"no NVLink is up on {smi.gpus[0].name}", "DeepEP needs GPUs that NVLink connects")
    dark = [gpu.number for gpu in smi.gpus if gpu.number not in found or not found[gpu.number].active]
    if dark:
        return fail(f"GPU {', '.join(map(str, dark))} has no NVLink that is up")
    expected = next(
        (number for part, number in LINKS if part in smi.gpus[0].name and "PCIe" not in smi.gpus[0].name),
        None,
    )
    few = {
        number: link
        for number, link in found.items()
        if link.active < (expected or link.active + link.inactive)
    }
    if few:
        texts = ", ".join(
            f"{link.active} of {expected or link.active + link.inactive} on GPU {number}"
            for number, link in few.items()
        )
        text = f"NVLinks are down: {texts} are up"
        return fail(text) if expected else warn(f"{text} (how many this model has is not known here)")
    topology = machine.topology
    some = found[min(found)]
    total = f"{some.active} links of {some.gb_s / some.active:.1f} GB/s on each GPU"
    if topology is None:
        return warn(
            f"{total}; nvidia-smi topo -m says nothing: whether all GPUs reach each other is not known"
        )
    apart = [
        pair for pair, path in topology.between.items() if pair[0] < pair[1] and not path.startswith("NV")
    ]
    if apart:
        first, second = apart[0]
        return fail(f"{len(apart)} pairs of GPUs are not connected by NVLink (GPU {first} and {second}: "
                    f"{topology.between[first, second]})")  # fmt: skip
    return ok(f"{total}, all GPUs reach each other")


def fabric(machine: Machine, wanted: Wanted) -> Outcome:
    """With NVSwitch nothing crosses NVLink before the fabric manager has set it up."""
    smi = machine.smi
    if smi is None or not smi.gpus:
        return unknown("nvidia-smi shows no GPU")
    with_state = [gpu for gpu in smi.gpus if gpu.fabric_state]
    if with_state:
        bad = [
            gpu
            for gpu in with_state
            if gpu.fabric_state != "Completed" or gpu.fabric_status not in (None, "Success")
        ]
        if bad:
            where = ", ".join(str(gpu.number) for gpu in bad)
            return fail(f"GPU {where}: fabric state {bad[0].fabric_state}, status {bad[0].fabric_status}")
        weak = [gpu for gpu in with_state if gpu.fabric_degraded]
        if weak:
            return warn(
                f"GPU {', '.join(str(gpu.number) for gpu in weak)}: the fabric's bandwidth is degraded"
            )
        return ok("state Completed on all GPUs")
    if not machine.probe.names("/proc/driver/nvidia-nvswitch/devices"):
        return ok("no NVSwitch here")
    said = machine.probe.ask(*FABRIC_MANAGER)
    state = said.out.strip()
    if state == "active":
        return ok("the fabric manager runs")
    if said.code is None:
        return unknown(f"the host has NVSwitches, and systemctl says nothing ({said.error})")
    return fail(f"the host has NVSwitches, and nvidia-fabricmanager is {state or 'not running'}")


def domain(machine: Machine, wanted: Wanted) -> Outcome:
    """One NVLink domain over several hosts needs its fabric, and IMEX to share memory across them."""
    smi = machine.smi
    if smi is None or not smi.gpus:
        return unknown("nvidia-smi shows no GPU")
    apart = [gpu for gpu in smi.gpus if not gpu.cluster]
    if apart:
        return fail(
            f"GPU {', '.join(str(gpu.number) for gpu in apart)} is in no NVLink domain of several hosts"
        )
    if not machine.probe.names("/dev/nvidia-caps-imex-channels"):
        return fail(f"there is no IMEX channel for the NVLink domain {smi.gpus[0].cluster}",
                    "start nvidia-imex on all hosts and create channel 0 (NVreg_CreateImexChannel0=1), or "
                    "set allow_mnnvl = false")  # fmt: skip
    return ok(f"domain {smi.gpus[0].cluster}, clique {smi.gpus[0].clique}, IMEX channel present")
