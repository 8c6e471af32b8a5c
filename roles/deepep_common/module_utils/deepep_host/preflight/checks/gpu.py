"""The GPUs and their driver."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..gpus import Gpu
from ..kernel_log import NEEDS_RESET, describe, fatal_sxids, xids
from ..machine import SMI, Machine, Wanted
from ..model import Outcome, fail, ok, unknown, warn

_MEMORY_MIB = 1024
"""Memory in use above which an earlier program left something (or another one runs)."""

GRACE = ("NVIDIA GB", "NVIDIA GH")
"""Beginnings of the names of GPUs on a Grace CPU."""


def answer(machine: Machine, wanted: Wanted) -> Outcome:
    """Whether the driver talks to all its GPUs."""
    said = machine.probe.ask(*SMI)
    if said.missing:
        return fail("nvidia-smi is not installed", "install NVIDIA's driver, or run the gloo backend here")
    gone = machine.lost_gpus
    if gone:
        texts = ", ".join(f"{bus} ({why})" for bus, why in gone)
        return fail(
            f"the driver has lost GPU {texts}", "reset or reboot the host; if it comes back, replace the GPU"
        )
    if said.code is None:
        return fail(f"nvidia-smi: {said.error}", "the driver hangs: reboot the host")
    if machine.smi is None:
        line = next(iter((said.out + said.error).strip().splitlines()), f"exit code {said.code}")
        return fail(f"nvidia-smi says: {line}")
    missing = sorted(set(machine.pci_gpus) - {gpu.bus for gpu in machine.smi.gpus})
    if missing:
        return fail(f"the PCI bus has GPU {', '.join(missing)}, which the driver does not show")
    return ok(f"driver {machine.smi.driver}, CUDA up to {machine.smi.cuda}")


def _of_all(
    check: Callable[[Machine, Wanted, tuple[Gpu, ...]], Outcome],
) -> Callable[[Machine, Wanted], Outcome]:
    """Wraps a check that looks at GPUs: without an answer of nvidia-smi it cannot be made."""

    def ask(machine: Machine, wanted: Wanted) -> Outcome:
        if machine.smi is None or not machine.smi.gpus:
            return unknown("nvidia-smi shows no GPU")
        return check(machine, wanted, machine.smi.gpus)

    ask.__doc__ = check.__doc__
    return ask


def _count(machine: Machine, wanted: Wanted, gpus: tuple[Gpu, ...]) -> Outcome:
    """One rank has one GPU."""
    names = sorted({gpu.name for gpu in gpus})
    text = f"{len(gpus)} GPUs ({', '.join(names)})"
    if len(gpus) < wanted.gpus:
        return fail(f"{text}, the plan wants {wanted.gpus}")
    if len(names) > 1:
        return fail(f"{text}: different models on one host", "exclude the host")
    if len(gpus) > wanted.gpus:
        return warn(
            f"{text}, the plan uses {wanted.gpus} of them",
            "set deepep_gpus_per_node to all GPUs, if they are meant",
        )
    return ok(text)


def _mig(machine: Machine, wanted: Wanted, gpus: tuple[Gpu, ...]) -> Outcome:
    """A GPU in MIG mode is cut into instances without NVLink."""
    found = [gpu for gpu in gpus if gpu.mig]
    return fail(f"MIG is enabled on GPU {_indexes(found)}") if found else ok("off")


def _idle(machine: Machine, wanted: Wanted, gpus: tuple[Gpu, ...]) -> Outcome:
    """Another program on a GPU doubles latencies, and the run still ends with exit code 0."""
    computing = [(gpu, process) for gpu in gpus for process in gpu.processes if "C" in process.kind]
    if computing:
        shown = "; ".join(
            f"{process.name} (pid {process.pid}) on GPU {gpu.number}" for gpu, process in computing[:4]
        )
        more = f" and {len(computing) - 4} more" if len(computing) > 4 else ""
        return fail(f"{shown}{more}")
    # On Grace the system itself may use GPU memory: it is a NUMA node.
    full = [gpu for gpu in gpus if (gpu.memory_used or 0) > _MEMORY_MIB and not gpu.name.startswith(GRACE)]
    if full:
        return fail(f"{full[0].memory_used} MiB are in use on GPU {_indexes(full)}, by no process that shows",
                    "a process of another container or user holds it, or one that died badly: find it with "
                    "fuser -v /dev/nvidia*, else reset the GPU")  # fmt: skip
    drawing = [process for gpu in gpus for process in gpu.processes]
    if drawing:
        return warn(f"a graphics program is on a GPU: {drawing[0].name}", "stop the display manager")
    return ok(f"idle, at most {max(gpu.memory_used or 0 for gpu in gpus)} MiB in use")


def _persistence(machine: Machine, wanted: Wanted, gpus: tuple[Gpu, ...]) -> Outcome:
    """Without it the driver loads and unloads, and the first calls take seconds."""
    off = [gpu for gpu in gpus if gpu.persistence is False]
    return warn(f"off on GPU {_indexes(off)}") if off else ok("on")


def _throttle(machine: Machine, wanted: Wanted, gpus: tuple[Gpu, ...]) -> Outcome:
    """A GPU that is hot, or short of power, is slower than the others and holds them up."""
    slow = [gpu for gpu in gpus if gpu.throttled]
    if slow:
        reasons = sorted({reason for gpu in slow for reason in gpu.throttled})
        return fail(f"GPU {_indexes(slow)} is slowed down: {', '.join(reasons)}")
    return ok("no reason to slow down is active")


def _clocks(machine: Machine, wanted: Wanted, gpus: tuple[Gpu, ...]) -> Outcome:
    """Clocks that somebody has set lower stay so until they are reset."""
    capped = [
        gpu for gpu in gpus
        if gpu.application_clock and gpu.maximum_clock and gpu.application_clock < gpu.maximum_clock
    ]  # fmt: skip
    if capped:
        return warn(f"GPU {_indexes(capped)} is capped at {capped[0].application_clock} MHz of "
                    f"{capped[0].maximum_clock} MHz")  # fmt: skip
    if all(gpu.application_clock is None for gpu in gpus):
        return unknown(
            "this driver shows no application clocks; nvidia-smi does not show locked clocks (-lgc) either"
        )
    return ok(f"up to {gpus[0].maximum_clock} MHz (locked clocks, nvidia-smi -lgc, do not show)")


def _power(machine: Machine, wanted: Wanted, gpus: tuple[Gpu, ...]) -> Outcome:
    """A power cap below the default slows everything."""
    capped = [
        gpu for gpu in gpus if gpu.power_limit and gpu.power_default and gpu.power_limit < gpu.power_default
    ]
    if capped:
        return warn(f"GPU {_indexes(capped)} is limited to {capped[0].power_limit:.0f} W of "
                    f"{capped[0].power_default:.0f} W")  # fmt: skip
    if all(gpu.power_limit is None for gpu in gpus):
        return unknown("the driver shows no power limit")
    return ok(f"{gpus[0].power_limit:.0f} W, the default")


def _ecc(machine: Machine, wanted: Wanted, gpus: tuple[Gpu, ...]) -> Outcome:
    """Uncorrectable errors since the driver was loaded mean wrong data; older ones a weak GPU."""
    fresh = [gpu for gpu in gpus if gpu.volatile_uncorrected]
    if fresh:
        counts = ", ".join(f"{gpu.volatile_uncorrected} on GPU {gpu.number}" for gpu in fresh)
        return fail(f"uncorrectable ECC errors since the driver was loaded: {counts}")
    broken = [gpu for gpu in gpus if gpu.broken]
    if broken:
        what = ", ".join(sorted({text for gpu in broken for text in gpu.broken}))
        return fail(f"GPU {_indexes(broken)}: {what}", "replace the GPU")
    old = [gpu for gpu in gpus if gpu.aggregate_uncorrected]
    if old:
        counts = ", ".join(f"{gpu.aggregate_uncorrected} on GPU {gpu.number}" for gpu in old)
        return warn(f"uncorrectable ECC errors over the GPU's life: {counts}", "watch this GPU")
    if all(gpu.volatile_uncorrected is None for gpu in gpus):
        return unknown("ECC is off, or the driver does not count its errors")
    return ok("no uncorrectable error")


def _remap(machine: Machine, wanted: Wanted, gpus: tuple[Gpu, ...]) -> Outcome:
    """Rows that wait to be remapped, and GPUs for which the driver asks for a reset."""
    asking = [gpu for gpu in gpus if gpu.recovery not in (None, "None")]
    if asking:
        return fail(f"the driver asks for recovery of GPU {_indexes(asking)}: {asking[0].recovery}")
    waiting = [gpu for gpu in gpus if gpu.pending]
    if waiting:
        what = ", ".join(sorted({text for gpu in waiting for text in gpu.pending}))
        return fail(f"GPU {_indexes(waiting)} waits for a reset: {what}")
    return ok("nothing is pending")


def _pcie(machine: Machine, wanted: Wanted, gpus: tuple[Gpu, ...]) -> Outcome:
    """A link that came up narrower halves what goes to the host and its adapters."""
    narrow = [gpu for gpu in gpus if gpu.pcie[1] and gpu.pcie[3] and gpu.pcie[1] < gpu.pcie[3]]
    if narrow:
        return warn(f"GPU {_indexes(narrow)} has {narrow[0].pcie[1]} of {narrow[0].pcie[3]} PCIe lanes")
    if all(gpu.pcie[1] is None for gpu in gpus):
        return unknown("the driver does not show the PCIe link")
    # The generation is lower while a GPU is idle, so that it tells nothing here.
    return ok(f"{gpus[0].pcie[1]} lanes")


count = _of_all(_count)
mig = _of_all(_mig)
idle = _of_all(_idle)
persistence = _of_all(_persistence)
throttle = _of_all(_throttle)
clocks = _of_all(_clocks)
power = _of_all(_power)
ecc = _of_all(_ecc)
remap = _of_all(_remap)
pcie = _of_all(_pcie)


def xid(machine: Machine, wanted: Wanted) -> Outcome:
    """What the driver has reported since the boot."""
    log, why = machine.kernel_log()
    if log is None:
        return unknown(f"the kernel log cannot be read ({why})",
                       "run as root or with become, or allow it: sysctl kernel.dmesg_restrict=0")  # fmt: skip
    switches = fatal_sxids(log)
    if switches:
        return fail(
            f"fatal NVSwitch error: SXid {', '.join(map(str, sorted(set(switches))))}", "reboot the host"
        )
    found = xids(log)
    if not found:
        return ok("none since the boot")
    text = describe(found, machine.uptime)
    healthy = {
        gpu.bus.rpartition(".")[0]
        for gpu in (machine.smi.gpus if machine.smi else ())
        if gpu.recovery == "None"
    }
    bad = [message for message in found if message.number in NEEDS_RESET]
    if bad and not all(_bus(message.bus) in healthy for message in bad):
        return fail(text)
    return warn(f"{text}; the driver asks for no recovery" if bad else text)


def _bus(text: str) -> str:
    """Returns domain:bus:device of an Xid message, which may carry a function."""
    return text.partition(".")[0]


def _indexes(gpus: Iterable[Gpu]) -> str:
    return ", ".join(str(gpu.number) for gpu in gpus)
