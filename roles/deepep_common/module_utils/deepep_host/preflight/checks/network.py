"""RDMA adapters, and what lets them read and write GPU memory."""

from __future__ import annotations

from ..adapters import Adapter, Port, active_mtus
from ..gpus import propose_nics
from ..machine import DEVICES, Machine, Wanted
from ..model import Outcome, fail, ok, unknown, warn
from .gpu import GRACE

_NEAR = ("PIX", "PXB")
_WANTED_MTU = 4096
_PKEY_BASE = 0x7FFF


def devices(machine: Machine, wanted: Wanted) -> Outcome:
    """Whether there is an adapter that programs may use."""
    adapters = machine.adapters
    if not adapters:
        return fail("this host has no RDMA adapter (/sys/class/infiniband is empty)")
    chosen, why = machine.chosen
    if not chosen:
        return fail(f"{why} selects none of {', '.join(one.name for one in adapters)}")
    verbs = [name for name in machine.probe.names("/dev/infiniband") if name.startswith("uverbs")]
    if not verbs:
        return fail("there is no /dev/infiniband/uverbs*", "load ib_uverbs and the adapter's driver")
    closed = [name for name in verbs if not machine.probe.usable(f"/dev/infiniband/{name}")]
    if closed:
        return fail(f"/dev/infiniband/{closed[0]} may not be read and written by this user",
                    "install rdma-core, whose udev rules open it, or add the user to its group")  # fmt: skip
    others = [one.name for one in adapters if one not in chosen]
    left = f"; left alone: {', '.join(others)}" if others else ""
    return ok(f"{', '.join(one.name for one in chosen)} ({why}){left}")


def ports(machine: Machine, wanted: Wanted) -> Outcome:
    """All ports are up, with the same rate and link layer."""
    chosen, _ = machine.chosen
    if not chosen:
        return unknown("no adapter")
    down = [(one, port) for one in chosen for port in one.ports if not port.active]
    up = [(one, port) for one in chosen for port in one.ports if port.active]
    if not up:
        return fail(f"no port is up: {_states(down)}")
    if down:
        return fail(f"{_states(down)}, its siblings are up")
    rates = {port.rate_gbit for _, port in up}
    if len(rates) > 1:
        best = max(rate or 0 for rate in rates)
        slow = ", ".join(f"{one.name} {port.rate}" for one, port in up if port.rate_gbit != best)
        return fail(f"{slow}; its siblings run at {best:.0f} Gb/s")
    layers = sorted({port.layer for _, port in up})
    if len(layers) > 1:
        return fail(
            f"different link layers: {', '.join(layers)}",
            "name the adapters in NVSHMEM_HCA_LIST and NCCL_IB_HCA",
        )
    return ok(f"{len(up)} ports active at {up[0][1].rate} ({layers[0]})")


def count(machine: Machine, wanted: Wanted) -> Outcome:
    """DeepEP's figures are of one adapter per GPU."""
    chosen, _ = machine.chosen
    if not chosen:
        return unknown("no adapter")
    number = sum(one.active for one in chosen)
    if wanted.gpus and number < wanted.gpus:
        return warn(f"{number} adapters for {wanted.gpus} GPUs")
    return ok(f"{number} adapters for {wanted.gpus} GPUs")


def gids(machine: Machine, wanted: Wanted) -> Outcome:
    """RoCE v2 needs a GID that maps an IPv4 address."""
    chosen, _ = machine.chosen
    ethernet = [
        (one, port) for one in chosen for port in one.ports if port.active and port.layer == "Ethernet"
    ]
    if not ethernet:
        return ok("not needed: no chosen adapter is on Ethernet") if chosen else unknown("no adapter")
    forced = {
        name: value for name in ("NVSHMEM_IB_GID_INDEX", "NCCL_IB_GID_INDEX")
        if (value := wanted.environment.get(name, "")).isdigit()
    }  # fmt: skip
    for one, port in ethernet:
        usable = [gid for gid in port.gids if gid.ipv4 and gid.kind == "RoCE v2"]
        if not usable:
            return fail(f"{one.name} has no RoCE v2 GID with an IPv4 address ({len(port.gids)} GIDs)")
        for name, value in forced.items():
            if int(value) not in {gid.number for gid in usable}:
                indexes = ", ".join(str(gid.number) for gid in usable)
                return fail(f"{name}={value}, but {one.name} has RoCE v2 with IPv4 at index {indexes}",
                            f"remove {name}: both libraries find the index by themselves")  # fmt: skip
    one, port = ethernet[0]
    gid = next(gid for gid in port.gids if gid.ipv4 and gid.kind == "RoCE v2")
    return ok(f"{one.name} has {gid.ipv4} at index {gid.number}, RoCE v2, and so have all")


def pkeys(machine: Machine, wanted: Wanted) -> Outcome:
    """NVSHMEM before 3.7.0 takes the partition key at index 0."""
    chosen, _ = machine.chosen
    infiniband = [
        (one, port) for one in chosen for port in one.ports if port.active and port.layer == "InfiniBand"
    ]
    if not infiniband:
        return ok("not needed: no chosen adapter is on InfiniBand") if chosen else unknown("no adapter")
    bad = [one.name for one, port in infiniband if port.pkey is not None and not port.pkey & _PKEY_BASE]
    if bad:
        return fail(f"no partition key at index 0 of {', '.join(bad)}")
    if all(port.pkey is None for _, port in infiniband):
        return unknown("the partition keys cannot be read")
    return ok(f"{infiniband[0][1].pkey:#06x} at index 0")


def mtu(machine: Machine, wanted: Wanted) -> Outcome:
    """Small packets cost bandwidth; hosts that differ cannot connect."""
    chosen, _ = machine.chosen
    if not chosen:
        return unknown("no adapter")
    said = machine.probe.ask(*DEVICES)
    if said.code != 0:
        return unknown(f"ibv_devinfo: {said.error.strip()}", "install ibverbs-utils")
    found = {
        name: size
        for name, size in active_mtus(said.out).items()
        if name in {one.name for one in chosen if one.active}
    }
    if not found:
        return unknown("ibv_devinfo shows none of the adapters")
    small = {name: size for name, size in found.items() if size < _WANTED_MTU}
    if small:
        return warn(f"the MTU is {min(small.values())} on {', '.join(small)}, {_WANTED_MTU} is possible")
    return ok(f"{min(found.values())} on all adapters")


def affinity(machine: Machine, wanted: Wanted) -> Outcome:
    """Which adapter is near which GPU: a proposal for the mapping of ranks to adapters."""
    topology = machine.topology
    if topology is None or not topology.nics:
        return unknown("nvidia-smi topo -m shows no adapters")
    names = [one.name for one in machine.chosen[0] if one.active]
    given = propose_nics(topology, names)
    if not given:
        return unknown(f"nvidia-smi topo -m shows none of {', '.join(names) or 'the adapters'}")
    mapping = ", ".join(f"{gpu}:{name} {path}" for gpu, (name, path) in given.items())
    if machine.smi and any(gpu.name.startswith(GRACE) for gpu in machine.smi.gpus):
        return ok(f"{mapping} (on Grace all adapters are behind the CPU)")
    far = [gpu for gpu, (_, path) in given.items() if path not in _NEAR]
    shared = len({name for name, _ in given.values()}) < len(given)
    if far or shared:
        why = (
            f"GPU {', '.join(map(str, far))} has no adapter on its PCIe switch"
            if far
            else "GPUs share adapters"
        )
        return warn(f"{mapping}: {why}")
    return ok(mapping)


def peer_memory(machine: Machine, wanted: Wanted) -> Outcome:
    """How adapters get at GPU memory: the nvidia_peermem module, or dmabuf of the open driver."""
    if machine.probe.exists("/sys/module/nvidia_peermem"):
        return ok("nvidia_peermem is loaded")
    if machine.open_driver and machine.kernel >= (5, 12):
        return ok(f"dmabuf: open kernel modules on kernel {machine.kernel[0]}.{machine.kernel[1]}; "
                  "nvidia_peermem is not loaded")  # fmt: skip
    if all(one.kind == "EFA" for one in machine.chosen[0]) and machine.chosen[0]:
        return ok("EFA brings its own (efa_nv_peermem or dmabuf)")
    return fail("neither nvidia_peermem nor dmabuf (open kernel modules, kernel 5.12 or newer)")


def ibgda(machine: Machine, wanted: Wanted) -> Outcome:
    """Who rings the adapter's doorbell for DeepEP V1: the GPU itself, or a CPU thread for it."""
    if wanted.environment.get("NVSHMEM_REMOTE_TRANSPORT") == "libfabric":
        return ok("not needed: NVSHMEM_REMOTE_TRANSPORT=libfabric")
    chosen, _ = machine.chosen
    if chosen and all(one.kind == "EFA" for one in chosen):
        return warn(
            "EFA cannot do it: DeepEP V1 runs here with the libfabric transport only",
            "set NVSHMEM_REMOTE_TRANSPORT=libfabric with an image that has it, or use V2",
        )
    params = machine.driver_params
    if not params:
        return unknown("/proc/driver/nvidia/params cannot be read")
    stream = params.get("EnableStreamMemOPs") == "1"
    mapping = "PeerMappingOverride=1" in params.get("RegistryDwords", "")
    if stream and mapping:
        return ok("by the GPU: EnableStreamMemOPs and PeerMappingOverride are set")
    missing = ", ".join(
        name
        for name, there in (("EnableStreamMemOPs=1", stream), ("PeerMappingOverride=1", mapping))
        if not there
    )
    if machine.probe.exists("/dev/gdrdrv"):
        return ok(f"by the CPU through GDRCopy, at a small cost (the driver lacks {missing})")
    return warn(
        "by the CPU through host memory, which needs NVSHMEM 3.4.5 or newer and is slower: the driver lacks "
        f"{missing}, and there is no /dev/gdrdrv"
    )


def gdrcopy(machine: Machine, wanted: Wanted) -> Outcome:
    """GDRCopy is what IBGDA uses where the driver's options are not set."""
    if not machine.probe.exists("/dev/gdrdrv"):
        return ok("/dev/gdrdrv is not there; ibgda says whether it is missed")
    if not machine.probe.usable("/dev/gdrdrv"):
        return fail("/dev/gdrdrv may not be read and written by this user", "give it mode 0666 (a udev rule)")
    return ok("/dev/gdrdrv is there")


def _states(ports_down: list[tuple[Adapter, Port]]) -> str:
    return ", ".join(
        f"{one.name} port {port.number} is {port.state or 'unknown'} ({port.physical or 'unknown'})"
        for one, port in ports_down
    )
