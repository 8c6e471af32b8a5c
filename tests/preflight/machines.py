"""Machines for the tests, written as the recordings that :class:`Recorded` replays.

GPU outputs are the recording of a real H100 machine (``recorded/h100-x4``) with other numbers and names.
Adapters and failures follow what public sources show of real ones:

* ``/sys/class/infiniband`` of H100 hosts: leptonai/gpud @ 4a8de33,
  components/accelerator/nvidia/infiniband/class/testdata/sys-class-infiniband-h100.0
* ``ibv_devinfo``: deepseek-ai/DeepEP#38 (RoCE), #55 and #60 (InfiniBand); EFA: uccl-project/uccl#163,
  linux-rdma/rdma-core#884
* ``nvidia-smi topo -m`` with adapters: deepseek-ai/DeepEP#137; GB200: sgl-project/sglang#11208
* ``nvidia-smi nvlink -s`` with ``<inactive>`` and Xid lines: leptonai/gpud @ 4a8de33 (its tests)
* a lost GPU: "Unable to determine the device handle for GPU ...", as drivers print it (many reports)
* ``docker info``, ``podman info``: their own output on this project's test machines
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from compiler.resources import host_code

host_code()

from deepep_host.preflight.adapters import ZERO_GID  # noqa: E402
from deepep_host.preflight.machine import DEVICES, NVLINK, RUNTIMES, SMI, TOPOLOGY  # noqa: E402
from deepep_host.preflight.probe import Recorded, command_name  # noqa: E402

RECORDED = Path(__file__).with_name("recorded")
GPU = re.compile(r"\t<gpu id=.*?\t</gpu>\n", re.DOTALL)


class Tree:
    """One recording in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, path: str, text: str) -> None:
        """Writes a file of the host."""
        target = self.folder / "root" / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text if text.endswith("\n") or not text else text + "\n", encoding="utf-8")

    def read(self, path: str) -> str:
        """Returns a file of the host."""
        return (self.folder / "root" / path.lstrip("/")).read_text(encoding="utf-8")

    def remove(self, path: str) -> None:
        """Removes a file or directory of the host."""
        target = self.folder / "root" / path.lstrip("/")
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    def command(self, argv: Sequence[str], out: str, code: int | None = 0, error: str = "") -> None:
        """Writes what a command says; ``code`` None: it does not answer."""
        base = self.folder / "commands" / command_name(argv)
        base.parent.mkdir(parents=True, exist_ok=True)
        base.with_name(base.name + ".out").write_text(out, encoding="utf-8")
        base.with_name(base.name + ".err").write_text(error, encoding="utf-8")
        base.with_name(base.name + ".code").write_text(
            "none" if code is None else str(code), encoding="utf-8"
        )

    def said(self, argv: Sequence[str]) -> str:
        """Returns what a command says."""
        return (self.folder / "commands" / f"{command_name(argv)}.out").read_text(encoding="utf-8")

    def change(self, argv: Sequence[str], old: str, new: str, count: int = 1) -> None:
        """Replaces the first ``count`` occurrences in what a command says; there must be one."""
        text = self.said(argv)
        assert old in text, old
        self.command(argv, text.replace(old, new, count))

    def probe(self) -> Recorded:
        """Returns the recording as checks see it."""
        return Recorded(self.folder)


def gpus(tree: Tree, number: int, model: str, links: int, link_gb_s: float, memory_mib: int = 81559) -> None:
    """Makes the GPUs: addresses 0000:10:00.0 and on, all links up, driver and system as recorded."""
    shutil.copytree(RECORDED / "h100-x4", tree.folder)
    tree.remove("/sys/bus/pci/devices")
    text = tree.said(SMI)
    (block, *_) = GPU.findall(text)
    blocks = []
    for gpu in range(number):
        one = block.replace("00000000:00:06.0", f"00000000:{16 + gpu:02X}:00.0")
        one = one.replace("NVIDIA H100 80GB HBM3", model).replace("81559", str(memory_mib))
        blocks.append(one.replace("000000000000</uuid>", f"{gpu:012d}</uuid>"))
        pci = f"/sys/bus/pci/devices/0000:{16 + gpu:02x}:00.0"
        tree.file(f"{pci}/vendor", "0x10de")
        tree.file(f"{pci}/class", "0x030200")
    head, tail = text[: text.index("\t<gpu id")], "</nvidia_smi_log>\n"
    tree.command(SMI, head.replace("<attached_gpus>4", f"<attached_gpus>{number}") + "".join(blocks) + tail)
    lines = []
    for gpu in range(number):
        lines.append(f"GPU {gpu}: {model} (UUID: GPU-00000000-0000-0000-0000-{gpu:012d})")
        lines += [f"\t Link {link}: {link_gb_s:g} GB/s" for link in range(links)]
    tree.command(NVLINK, "\n".join(lines) + "\n")
    tree.file("/proc/self/limits", tree.read("/proc/self/limits").replace("20000  ", "1048576"))


def topology(tree: Tree, number: int, links: int, nics: Sequence[tuple[str, Callable[[int], str]]]) -> None:
    """Writes ``nvidia-smi topo -m``; each adapter with its name and its path to each GPU."""
    columns = [*(f"GPU{gpu}" for gpu in range(number)), *(f"NIC{nic}" for nic in range(len(nics)))]
    rows = ["\t\x1b[4m" + "\t".join([*columns, "CPU Affinity", "NUMA Affinity", "GPU NUMA ID"]) + "\x1b[0m"]
    for gpu in range(number):
        cells = [" X " if peer == gpu else f"NV{links}" for peer in range(number)]
        cells += [path(gpu) for _, path in nics]
        rows.append("\t".join([f"GPU{gpu}", *cells, "0-63", "0", "", "N/A"]))
    for nic, (_, path) in enumerate(nics):
        cells = [path(gpu) for gpu in range(number)]
        cells += [" X " if other == nic else "NODE" for other in range(len(nics))]
        rows.append("\t".join([f"NIC{nic}", *cells]))
    legend = ["", "NIC Legend:", "", *(f"  NIC{nic}: {name}" for nic, (name, _) in enumerate(nics)), ""]
    tree.command(TOPOLOGY, "\n".join([*rows, "", "Legend:", "", "  X    = Self", *legend]))


def adapter(
    tree: Tree,
    name: str,
    kind: str = "MT4129",
    board: str = "MT_0000000838",
    firmware: str = "28.41.1000",
    layer: str = "InfiniBand",
    rate: str = "400 Gb/sec (4X NDR)",
    ipv4: str | None = None,
    netdev: str = "",
) -> None:
    """Makes one adapter with one active port."""
    top = f"/sys/class/infiniband/{name}"
    driver = "efa" if kind == "EFA" else "mlx5_core"
    tree.file(f"{top}/device/uevent", f"DRIVER={driver}\nPCI_SLOT_NAME=0000:1a:00.0")
    if kind != "EFA":
        tree.file(f"{top}/hca_type", kind)
        tree.file(f"{top}/board_id", board)
    tree.file(f"{top}/fw_ver", firmware)
    if netdev:
        tree.file(f"{top}/device/net/{netdev}/mtu", "9000")
    port = f"{top}/ports/1"
    tree.file(f"{port}/state", "4: ACTIVE")
    tree.file(f"{port}/phys_state", "5: LinkUp")
    tree.file(f"{port}/rate", rate)
    tree.file(f"{port}/link_layer", layer)
    tree.file(f"{port}/gids/0", "fe80:0000:0000:0000:a288:c2ff:fe03:1dba")
    tree.file(f"{port}/gid_attrs/types/0", "RoCE v2" if layer == "Ethernet" else "IB/RoCE v1")
    tree.file(f"{port}/gids/1", ZERO_GID)
    if layer == "InfiniBand":
        tree.file(f"{port}/pkeys/0", "0xffff")
    if ipv4:
        a, b, c, d = (int(part) for part in ipv4.split("."))
        tree.file(f"{port}/gids/3", f"0000:0000:0000:0000:0000:ffff:{a:02x}{b:02x}:{c:02x}{d:02x}")
        tree.file(f"{port}/gid_attrs/types/3", "RoCE v2")
    for counter in ("symbol_error", "link_downed", "port_rcv_errors", "port_xmit_data"):
        tree.file(f"{port}/counters/{counter}", "0")
    for counter in ("out_of_sequence", "local_ack_timeout_err", "lifespan"):
        tree.file(f"{port}/hw_counters/{counter}", "12" if counter == "lifespan" else "0")
    tree.file(
        f"/dev/infiniband/uverbs{len(list((tree.folder / 'root/sys/class/infiniband').iterdir())) - 1}", ""
    )


def devinfo(tree: Tree, mtu: int = 4096) -> None:
    """Writes ``ibv_devinfo`` of the adapters that are there."""
    lines = []
    for folder in sorted((tree.folder / "root/sys/class/infiniband").iterdir()):
        port = folder / "ports/1"
        layer = (port / "link_layer").read_text().strip()
        lines += [
            f"hca_id:\t{folder.name}",
            "\ttransport:\t\t\tInfiniBand (0)",
            f"\tfw_ver:\t\t\t\t{(folder / 'fw_ver').read_text().strip()}",
            "\tphys_port_cnt:\t\t\t1",
            "\t\tport:\t1",
            "\t\t\tstate:\t\t\tPORT_ACTIVE (4)",
            "\t\t\tmax_mtu:\t\t4096 (5)",
            f"\t\t\tactive_mtu:\t\t{mtu} (5)",
            f"\t\t\tlink_layer:\t\t{layer}",
            "",
        ]
    tree.command(DEVICES, "\n".join(lines))


def driver_options(tree: Tree) -> None:
    """Sets the driver's options for GPU-initiated IBGDA, and loads nvidia_peermem."""
    text = tree.read("/proc/driver/nvidia/params").replace("EnableStreamMemOPs: 0", "EnableStreamMemOPs: 1")
    tree.file(
        "/proc/driver/nvidia/params",
        text.replace('RegistryDwords: ""', 'RegistryDwords: "PeerMappingOverride=1;"', 1),
    )
    tree.file("/sys/module/nvidia_peermem/version", "580.159.04")


def near(own: int) -> Callable[[int], str]:
    """Returns paths of an adapter on the switch of GPU ``own``, four GPUs to a socket."""
    return lambda gpu: "PIX" if gpu == own else "NODE" if gpu // 4 == own // 4 else "SYS"


def h100_infiniband(folder: Path) -> Tree:
    """Eight H100, eight ConnectX-7 NDR, and two ConnectX-6 for the host's own network."""
    tree = Tree(folder)
    gpus(tree, 8, "NVIDIA H100 80GB HBM3", 18, 26.562)
    names = [f"mlx5_{number}" for number in (0, 3, 4, 5, 6, 9, 10, 11)]
    for name in names:
        adapter(tree, name)
    for name in ("mlx5_1", "mlx5_2"):
        adapter(tree, name, "MT4125", "MT_0000000436", "22.38.1900", "Ethernet", "100 Gb/sec (4X EDR)",
                "10.0.0.7", f"en{name}")  # fmt: skip
    tree.file("/sys/class/infiniband/mlx5_2/ports/1/state", "1: DOWN")
    topology(
        tree, 8, 18, [(name, near(gpu)) for gpu, name in enumerate(names)] + [("mlx5_1", lambda gpu: "SYS")]
    )
    devinfo(tree)
    driver_options(tree)
    tree.command(RUNTIMES["docker"], json.dumps(DOCKER))
    return tree


def h200_roce(folder: Path) -> Tree:
    """Eight H200 and eight ConnectX-7 on Ethernet."""
    tree = Tree(folder)
    gpus(tree, 8, "NVIDIA H200", 18, 26.562, 143771)
    for gpu in range(8):
        adapter(tree, f"mlx5_{gpu}", layer="Ethernet", ipv4=f"10.1.{gpu}.7", netdev=f"ens{gpu}np0",
                rate="400 Gb/sec (4X NDR)")  # fmt: skip
    topology(tree, 8, 18, [(f"mlx5_{gpu}", near(gpu)) for gpu in range(8)])
    devinfo(tree)
    driver_options(tree)
    return tree


def b200(folder: Path) -> Tree:
    """Eight B200; the adapters are mlx5_4 to mlx5_11."""
    tree = Tree(folder)
    gpus(tree, 8, "NVIDIA B200", 18, 50.0, 183359)
    for number in range(4):
        adapter(tree, f"mlx5_{number}", "MT41692", "MT_0000000884", "32.41.1000", "Ethernet",
                "200 Gb/sec (4X HDR)", "10.2.0.7")  # fmt: skip
    for number in range(4, 12):
        adapter(tree, f"mlx5_{number}")
    topology(tree, 8, 18, [(f"mlx5_{number}", near(number - 4)) for number in range(4, 12)])
    devinfo(tree)
    driver_options(tree)
    return tree


def gb200(folder: Path) -> Tree:
    """Four GB200 of an NVL72 with IMEX; adapters are behind the CPU, and the system uses GPU memory too."""
    tree = Tree(folder)
    gpus(tree, 4, "NVIDIA GB200", 18, 50.0, 189471)
    text = tree.said(SMI).replace("<used>0 MiB", "<used>2100 MiB").replace("<cliqueId>0", "<cliqueId>32766")
    text = text.replace("<clusterUuid>00000000-", "<clusterUuid>8d3e5f1a-")
    tree.command(SMI, text)
    for number in range(4):
        adapter(tree, f"mlx5_{number}")
    topology(tree, 4, 18, [(f"mlx5_{number}", lambda gpu: "SYS") for number in range(4)])
    devinfo(tree)
    driver_options(tree)
    tree.file("/dev/nvidia-caps-imex-channels/channel0", "")
    return tree


NO_FIRMWARE = "0.0.0.0"  # noqa: S104 - what EFA shows as its firmware's version


def efa(folder: Path) -> Tree:
    """Eight H100 and 32 EFA devices."""
    tree = Tree(folder)
    gpus(tree, 8, "NVIDIA H100 80GB HBM3", 18, 26.562)
    names = [f"rdmap{number}s0" for number in range(79, 111)]
    for name in names:
        adapter(tree, name, "EFA", firmware=NO_FIRMWARE, layer="Unknown", rate="100 Gb/sec (4X EDR)")
    topology(tree, 8, 18, [(name, near(number // 4)) for number, name in enumerate(names)])
    devinfo(tree)
    return tree


def cpu_only(folder: Path) -> Tree:
    """A machine without GPUs and adapters."""
    tree = Tree(folder)
    folder.mkdir(parents=True)
    (folder / "facts").write_text("hostname cpu\nfree_mib 50000\naddress lo 127.0.0.1\n")
    tree.file("/proc/self/limits", (RECORDED / "h100-x4/root/proc/self/limits").read_text())
    tree.file("/sys/class/net/lo/mtu", "65536")
    tree.command(RUNTIMES["podman"], json.dumps(PODMAN))
    return tree


MACHINES = {
    "h100-infiniband": h100_infiniband,
    "h200-roce": h200_roce,
    "b200": b200,
    "gb200": gb200,
    "efa": efa,
    "cpu": cpu_only,
}

DOCKER = {
    "ServerVersion": "27.3.1", "Driver": "overlay2", "DockerRootDir": "/var/lib/docker",
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
    "Runtimes": {"io.containerd.runc.v2": {"path": "runc"}, "nvidia": {"path": "nvidia-container-runtime"}},
}  # fmt: skip

PODMAN = {
    "host": {"security": {"rootless": True}},
    "store": {"graphDriverName": "overlay", "graphRoot": "/home/user/.local/share/containers/storage"},
    "version": {"Version": "4.3.1"},
}
