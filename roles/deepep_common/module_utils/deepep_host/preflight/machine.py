"""A host as the checks see it: each fact is found once, when the first check asks for it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from .adapters import Adapter, choose, read_adapters
from .gpus import Answer, Links, Topology, lost, parse_nvlink, parse_smi, parse_topology
from .probe import Probe, Said

T = TypeVar("T")

SMI = ("nvidia-smi", "-q", "-x")
NVLINK = ("nvidia-smi", "nvlink", "-s")
TOPOLOGY = ("nvidia-smi", "topo", "-m")
FABRIC_MANAGER = ("systemctl", "is-active", "nvidia-fabricmanager")
KERNEL_LOG = ("dmesg",)
JOURNAL = ("journalctl", "-k", "-b", "-q", "--no-pager", "-o", "short-monotonic", "-g", "NVRM|nvswitch")
DEVICES = ("ibv_devinfo",)
SYSTEMD = "/run/systemd/system"
"""There where systemd runs the host (sd_booted)."""
LOGIND = ("busctl", "get-property", "org.freedesktop.login1", "/org/freedesktop/login1",
          "org.freedesktop.login1.Manager", "KillUserProcesses", "KillOnlyUsers",
          "KillExcludeUsers")  # fmt: skip
"""What logind goes by: built-in defaults and all its files together."""
RUNTIMES: dict[str, tuple[str, ...]] = {
    "docker": ("docker", "info", "--format", "{{json .}}"),
    "podman": ("podman", "info", "--format", "json"),
    "enroot": ("enroot", "version"),
}


class Wanted(NamedTuple):
    """What the plan wants of a host; lists are over all its runs. jit_caches: "" for the default place."""

    needs: frozenset[str]
    gpus: int
    work_dir: str
    min_free_mib: int
    image_dir: str
    image_free_mib: int
    python: str
    runtimes: tuple[str, ...]
    interfaces: tuple[str, ...]
    environment: Mapping[str, str]
    master_address: str = ""
    jit_cache_dir: str = ""
    jit_caches: tuple[str, ...] = ("",)


WANTED_DEFAULTS: dict[str, Any] = {
    "needs": ["host"], "gpus": 0, "work_dir": "/var/tmp/deepep", "min_free_mib": 512, "image_dir": "",  # noqa: S108
    "image_free_mib": 0, "python": "", "runtimes": [], "interfaces": [], "environment": {},
    "master_address": "", "jit_cache_dir": "", "jit_caches": [""],
}  # fmt: skip


def read_wanted(given: Mapping[str, Any]) -> Wanted:
    """Returns what travels to the host as JSON; what is absent has its default. Unknown keys are refused."""
    values = {**WANTED_DEFAULTS, **given}
    values["needs"] = frozenset(values["needs"])
    for name in ("runtimes", "interfaces", "jit_caches"):
        values[name] = tuple(values[name])
    return Wanted(**values)


class Machine:
    """Facts of one host."""

    def __init__(self, probe: Probe, wanted: Wanted) -> None:
        self.probe = probe
        self.wanted = wanted
        self.torch: dict[str, Any] = {}

    def prepare(self, more: Sequence[Sequence[str]] = ()) -> None:
        """Runs all commands that the checks will want, at the same time."""
        commands: list[Sequence[str]] = list(more)
        needs = self.wanted.needs
        if self.probe.exists(SYSTEMD):
            commands.append(LOGIND)
        if "gpu" in needs:
            commands += [SMI, NVLINK, TOPOLOGY, KERNEL_LOG, FABRIC_MANAGER]
        if needs & {"rdma", "network"}:
            commands.append(DEVICES)
        commands += [RUNTIMES[name] for name in self.wanted.runtimes if name in RUNTIMES]
        self.probe.ask_all(commands)

    # ---- GPUs ----

    @property
    def smi(self) -> Answer | None:
        """What nvidia-smi says; None where it says nothing that can be read."""
        return _parsed(parse_smi, self.probe.ask(*SMI).out)

    @property
    def lost_gpus(self) -> list[tuple[str, str]]:
        """GPUs that the driver knows of but cannot reach."""
        said = self.probe.ask(*SMI)
        return lost(said.out + "\n" + said.error)

    @property
    def pci_gpus(self) -> list[str]:
        """Addresses of NVIDIA GPUs on the PCI bus, whether or not the driver has them."""
        found = []
        for address in self.probe.names("/sys/bus/pci/devices"):
            top = f"/sys/bus/pci/devices/{address}"
            is_gpu = (self.probe.read(f"{top}/class") or "").startswith(("0x0302", "0x0300"))
            if is_gpu and self.probe.read(f"{top}/vendor") == "0x10de":
                found.append(address)
        return found

    @property
    def nvlinks(self) -> dict[int, Links]:
        """NVLinks by GPU."""
        return _parsed(parse_nvlink, self.probe.ask(*NVLINK).out)

    @property
    def topology(self) -> Topology | None:
        """Paths between GPUs and adapters."""
        return _parsed(parse_topology, self.probe.ask(*TOPOLOGY).out)

    @property
    def driver_params(self) -> dict[str, str]:
        """Parameters of the nvidia kernel module; empty where it is not loaded."""
        lines = (self.probe.read("/proc/driver/nvidia/params") or "").splitlines()
        return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def open_driver(self) -> bool:
        """Whether the kernel modules are NVIDIA's open ones, which export memory as dmabuf."""
        return "Open Kernel Module" in (self.probe.read("/proc/driver/nvidia/version") or "")

    # ---- network ----

    @property
    def adapters(self) -> list[Adapter]:
        """All RDMA adapters."""
        if not hasattr(self, "_adapters"):
            self._adapters = read_adapters(self.probe)
        return self._adapters

    @property
    def chosen(self) -> tuple[list[Adapter], str]:
        """The adapters that runs will use, and why these."""
        return choose(self.adapters, self.wanted.environment)

    # ---- host ----

    @property
    def kernel(self) -> tuple[int, int]:
        """The kernel's version (major, minor), (0, 0) where it is unknown."""
        match = re.match(r"(\d+)\.(\d+)", self.probe.read("/proc/sys/kernel/osrelease") or "")
        return (int(match.group(1)), int(match.group(2))) if match else (0, 0)

    @property
    def uptime(self) -> float | None:
        """Seconds since the boot."""
        try:
            return float((self.probe.read("/proc/uptime") or "").split()[0])
        except (IndexError, ValueError):
            return None

    @property
    def limits(self) -> dict[str, tuple[str, str]]:
        """Soft and hard resource limits of this session, by the kernel's names."""
        found = {}
        for line in (self.probe.read("/proc/self/limits") or "").splitlines()[1:]:
            match = re.match(r"(.+?)\s{2,}(\S+)\s+(\S+)", line)
            if match:
                found[match.group(1)] = (match.group(2), match.group(3))
        return found

    def kernel_log(self) -> tuple[str | None, str]:
        """Returns the kernel's messages since the boot, or None and why they cannot be read."""
        said = self.probe.ask(*KERNEL_LOG)
        if said.code == 0:
            return said.out, ""
        journal = self.probe.ask(*JOURNAL)
        if (
            journal.code in (0, 1)
            and "insufficient permissions" not in journal.error.lower()
            and ("not seeing messages" not in journal.error.lower())
        ):
            return journal.out, ""
        why = (said.error.strip() or "dmesg says nothing").splitlines()[0]
        return None, why

    def runtime(self, name: str) -> tuple[dict[str, Any] | None, Said]:
        """Returns what a container runtime says of itself (JSON), and its whole answer."""
        said = self.probe.ask(*RUNTIMES[name])
        try:
            value = json.loads(said.out) if said.code == 0 else None
        except ValueError:
            value = None
        return (value if isinstance(value, dict) else None), said

    @property
    def rootless(self) -> list[str]:
        """Engines that run without root here: nothing of theirs can raise a limit of this user's."""
        docker, podman = (
            self.runtime(name)[0] or {} if name in self.wanted.runtimes else {}
            for name in ("docker", "podman")
        )
        security = (podman.get("host") or {}).get("security") or {}
        options = docker.get("SecurityOptions") or ()
        found = {"docker": any("rootless" in str(one) for one in options), "podman": security.get("rootless")}
        return [name for name, is_rootless in found.items() if is_rootless]

    def filesystem(self, path: str) -> str | None:
        """Returns the type of the file system that ``path`` is on."""
        best: tuple[int, str | None] = (-1, None)
        for line in (self.probe.read("/proc/self/mounts") or "").splitlines():
            fields = line.split()
            if len(fields) < 3:
                continue
            point = fields[1].replace("\\040", " ").rstrip("/")
            if (path == point or path.startswith(point + "/")) and len(point) >= best[0]:
                best = (len(point), fields[2])
        return best[1]


def _parsed(parse: Callable[[str], T], text: str) -> T:
    """Returns what ``parse`` makes of a command's output, once for all checks."""
    key = (parse.__name__, text)
    if key not in _KNOWN:
        _KNOWN[key] = parse(text)
    return _KNOWN[key]  # type: ignore[no-any-return]


_KNOWN: dict[tuple[str, str], Any] = {}
