"""Every check on machines that are well, and on machines with one thing wrong (``machines.py``)."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compiler.resources import host_code
from tests.preflight import machines
from tests.preflight.machines import Tree

host_code()

from deepep_host.preflight import examine  # noqa: E402
from deepep_host.preflight.catalogue import CHECKS  # noqa: E402
from deepep_host.preflight.machine import (  # noqa: E402
    DEVICES,
    FABRIC_MANAGER,
    JOURNAL,
    KERNEL_LOG,
    LOGIND,
    NVLINK,
    RUNTIMES,
    SMI,
    TOPOLOGY,
)
from deepep_host.preflight.probe import Probe, Recorded, Recorder  # noqa: E402

ALL = ["host", "peers", "gpu", "nvlink", "rdma", "ibgda"]
NEVER = {"image", "pair_bandwidth", "pci_acs", "fabric"}


def look(
    tree: Tree, needs: list[str] | None = None, gpus: int = 8, **wanted: Any
) -> dict[str, dict[str, Any]]:
    """Returns the checks of a machine by name, without those that no machine can answer."""
    found = examine({"needs": needs or ALL, "gpus": gpus, **wanted}, tree.probe())
    return {line["name"]: line for line in found["checks"] if line["name"] not in NEVER}


def test_what_no_machine_can_tell_is_said_and_counts_for_nothing(tmp_path: Path) -> None:
    tree = machines.h100_infiniband(tmp_path / "m")
    tree.command(RUNTIMES["docker"], json.dumps(machines.DOCKER))
    found = examine({"needs": [*ALL, "container"], "gpus": 8, "runtimes": ["docker"]}, tree.probe())
    silent = {line["name"]: line["text"] for line in found["checks"] if line["result"] == "unknown"}
    assert set(silent) == NEVER
    assert all(text.startswith("not checked: ") for text in silent.values())
    assert found["result"] == "pass"
    # Where no run needs the answer, nobody asks.
    assert not NEVER & {line["name"] for line in examine({"needs": ["host", "gpu"]}, tree.probe())["checks"]}


@pytest.mark.parametrize("kind", [kind for kind in machines.MACHINES if kind not in ("cpu", "gb200", "efa")])
def test_a_healthy_machine_passes_every_check(tmp_path: Path, kind: str) -> None:
    found = look(machines.MACHINES[kind](tmp_path / kind))
    assert {name: line["text"] for name, line in found.items() if line["result"] != "pass"} == {}


def test_a_healthy_gb200_passes_with_its_nvlink_domain(tmp_path: Path) -> None:
    found = look(machines.gb200(tmp_path / "gb200"), [*ALL, "mnnvl"], gpus=4)
    assert {line["result"] for line in found.values()} == {"pass"}
    assert "IMEX channel present" in found["nvlink_domain"]["text"]


def test_efa_is_told_that_v1_needs_another_transport(tmp_path: Path) -> None:
    tree = machines.efa(tmp_path / "efa")
    assert {name for name, line in look(tree).items() if line["result"] != "pass"} == {"ibgda"}
    found = look(tree, environment={"NVSHMEM_REMOTE_TRANSPORT": "libfabric"})
    assert {line["result"] for line in found.values()} == {"pass"}


def test_a_machine_without_gpus_passes_for_runs_that_need_none(tmp_path: Path) -> None:
    tree = machines.cpu_only(tmp_path / "cpu")
    found = look(tree, ["host", "peers", "container"], runtimes=["podman"], interfaces=["=lo"])
    assert {line["result"] for line in found.values()} == {"pass"}
    assert "gpu_driver" not in found


def test_a_real_recording_shows_what_it_has_and_lacks() -> None:
    found = look(Tree(machines.RECORDED / "h100-x4"), gpus=4)
    failed = {name for name, line in found.items() if line["result"] == "fail"}
    assert failed == {"rdma"}
    assert found["nvlink"]["text"] == "18 links of 26.6 GB/s on each GPU, all GPUs reach each other"
    assert found["ibgda"]["result"] == "warn"
    assert found["rdma_ports"]["text"] == "not checked: no adapter"


def _lost(tree: Tree) -> None:
    tree.command(
        SMI,
        "Unable to determine the device handle for GPU0000:12:00.0: GPU is lost.  "
        "Reboot the system to recover this GPU\n",
        15,
    )


def _fallen_off(tree: Tree) -> None:
    """Off the bus for the driver, which shows seven, while the PCI bus still has eight."""
    blocks = machines.GPU.findall(tree.said(SMI))
    tree.command(SMI, tree.said(SMI).replace(blocks[3], ""))


def _xid79(tree: Tree) -> None:
    tree.command(
        KERNEL_LOG,
        tree.said(KERNEL_LOG) + "[   25.125512] NVRM: Xid (PCI:0000:13:00): 79, "
        "pid='<unknown>', name=<unknown>, GPU has fallen off the bus.\n",
    )
    tree.change(SMI, "<gpu_recovery_action>None", "<gpu_recovery_action>Reset", 8)


def _old_xid(tree: Tree) -> None:
    line = "[   21.5] NVRM: Xid (PCI:0000:13:00): 119, pid=1234, name=python, Timeout after 6s of waiting\n"
    tree.command(KERNEL_LOG, tree.said(KERNEL_LOG) + 2 * line)


PROCESS = """\
		<processes>
			<process_info>
				<pid>41233</pid>
				<type>C</type>
				<process_name>/opt/venv/bin/python</process_name>
				<used_memory>61522 MiB</used_memory>
			</process_info>
		</processes>
"""


def _foreign(tree: Tree) -> None:
    block = machines.GPU.findall(tree.said(SMI))[5]
    busy = re.sub(r"\t\t<processes>.*</processes>\n", PROCESS, block, flags=re.DOTALL)
    tree.command(SMI, tree.said(SMI).replace(block, busy))


def _swap(argv: tuple[str, ...], old: str, new: str, count: int = 1) -> Callable[[Tree], None]:
    return lambda tree: tree.change(argv, old, new, count)


def _file(path: str, text: str) -> Callable[[Tree], None]:
    return lambda tree: tree.file(path, text)


def _gone(*paths: str) -> Callable[[Tree], None]:
    return lambda tree: [tree.remove(path) for path in paths] and None


def _says(argv: tuple[str, ...], out: str, code: int | None, error: str = "") -> Callable[[Tree], None]:
    return lambda tree: tree.command(argv, out, code, error)


def _switches(tree: Tree) -> None:
    tree.change(SMI, "<state>Completed", "<state>N/A", 8)
    tree.file("/proc/driver/nvidia-nvswitch/devices/0000:05:00.0", "")
    tree.command(FABRIC_MANAGER, "failed\n", 3)


def _proprietary(tree: Tree) -> None:
    tree.remove("/sys/module/nvidia_peermem")
    text = tree.read("/proc/driver/nvidia/version")
    tree.file(
        "/proc/driver/nvidia/version", text.replace("UNIX Open Kernel Module", "UNIX x86_64 Kernel Module")
    )


def _no_log(tree: Tree) -> None:
    tree.command(KERNEL_LOG, "", 1, "dmesg: read kernel buffer failed: Operation not permitted\n")
    tree.command(
        JOURNAL, "", 1, "Hint: You are currently not seeing messages from other users and the system.\n"
    )


IB, PARAMS = "/sys/class/infiniband", "/proc/driver/nvidia/params"
SICK = [
    # machine, what is wrong, check, result, a part of what it says
    ("h100-infiniband", _lost, "gpu_driver", "fail", "has lost GPU 0000:12:00.0 (GPU is lost"),
    ("h100-infiniband", _lost, "gpu_ecc", "unknown", "not checked: nvidia-smi shows no GPU"),
    ("h100-infiniband", _fallen_off, "gpu_driver", "fail", "0000:13:00.0, which the driver does not show"),
    ("h100-infiniband", _fallen_off, "gpu_count", "fail", "7 GPUs (NVIDIA H100 80GB HBM3), the plan wants 8"),
    (
        "h100-infiniband",
        _says(SMI, "", None, "no answer within 15 s"),
        "gpu_driver",
        "fail",
        "no answer within 15 s",
    ),
    (
        "h100-infiniband",
        _says(SMI, "", 9, "NVIDIA-SMI has failed because it couldn't communicate"),
        "gpu_driver",
        "fail",
        "couldn't communicate",
    ),
    (
        "h100-infiniband",
        _xid79,
        "gpu_xid",
        "fail",
        "Xid 79 (GPU has fallen off the bus) on 0000:13:00, 5 s ago",
    ),
    ("h100-infiniband", _xid79, "gpu_recovery", "fail", "asks for recovery of GPU 0, 1, 2"),
    ("h100-infiniband", _old_xid, "gpu_xid", "warn", "2 times, last"),
    (
        "h100-infiniband",
        _says(KERNEL_LOG, "[1.0] nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 20034, Fatal, Link 30\n", 0),
        "gpu_xid",
        "fail",
        "SXid 20034",
    ),
    ("h100-infiniband", _no_log, "gpu_xid", "unknown", "Operation not permitted"),
    (
        "h100-infiniband",
        _swap(SMI, "<dram_uncorrectable>0", "<dram_uncorrectable>3"),
        "gpu_ecc",
        "fail",
        "uncorrectable ECC errors since the driver was loaded: 3 on GPU 0",
    ),
    (
        "h100-infiniband",
        _swap(SMI, "<remapped_row_failure>No", "<remapped_row_failure>Yes"),
        "gpu_ecc",
        "fail",
        "row remap failed",
    ),
    (
        "h100-infiniband",
        _swap(SMI, "<remapped_row_pending>No", "<remapped_row_pending>Yes"),
        "gpu_recovery",
        "fail",
        "GPU 0 waits for a reset: row remap",
    ),
    (
        "h100-infiniband",
        _swap(SMI, "hw_thermal_slowdown>Not Active", "hw_thermal_slowdown>Active"),
        "gpu_throttle",
        "fail",
        "GPU 0 is slowed down: hw thermal slowdown",
    ),
    (
        "h100-infiniband",
        _swap(
            SMI,
            "<applications_clocks>\n\t\t\t<graphics_clock>1980",
            "<applications_clocks>\n\t\t\t<graphics_clock>1410",
        ),
        "gpu_clocks",
        "warn",
        "capped at 1410 MHz of 1980 MHz",
    ),
    (
        "h100-infiniband",
        _swap(SMI, "<current_power_limit>700", "<current_power_limit>500"),
        "gpu_power",
        "warn",
        "GPU 0 is limited to 500 W of 700 W",
    ),
    (
        "h100-infiniband",
        _swap(SMI, "<persistence_mode>Enabled", "<persistence_mode>Disabled", 8),
        "gpu_persistence",
        "warn",
        "off on GPU 0, 1",
    ),
    (
        "h100-infiniband",
        _swap(SMI, "<current_link_width>16x", "<current_link_width>8x"),
        "gpu_pcie",
        "warn",
        "8 of 16 PCIe lanes",
    ),
    (
        "h100-infiniband",
        _swap(SMI, "<current_mig>Disabled", "<current_mig>Enabled"),
        "gpu_mig",
        "fail",
        "MIG is enabled on GPU 0",
    ),
    ("h100-infiniband", _foreign, "gpu_idle", "fail", "/opt/venv/bin/python (pid 41233) on GPU 5"),
    (
        "h100-infiniband",
        _swap(SMI, "<used>0 MiB", "<used>9120 MiB"),
        "gpu_idle",
        "fail",
        "9120 MiB are in use on GPU 0",
    ),
    (
        "h100-infiniband",
        _swap(NVLINK, " Link 4: 26.562 GB/s", " Link 4: <inactive>"),
        "nvlink",
        "fail",
        "17 of 18 on GPU 0",
    ),
    ("h100-infiniband", _swap(TOPOLOGY, "NV18", "SYS"), "nvlink", "fail", "GPU 0 and 1: SYS"),
    ("h100-infiniband", _says(NVLINK, "", 0), "nvlink", "fail", "no NVLink is up"),
    (
        "h100-infiniband",
        _swap(SMI, "<state>Completed", "<state>In Progress"),
        "nvswitch",
        "fail",
        "fabric state In Progress",
    ),
    ("h100-infiniband", _switches, "nvswitch", "fail", "nvidia-fabricmanager is failed"),
    (
        "h100-infiniband",
        _file(f"{IB}/mlx5_6/ports/1/state", "1: DOWN"),
        "rdma_ports",
        "fail",
        "mlx5_6 port 1 is DOWN (LinkUp), its siblings are up",
    ),
    (
        "h100-infiniband",
        _file(f"{IB}/mlx5_6/ports/1/rate", "200 Gb/sec (4X HDR)"),
        "rdma_ports",
        "fail",
        "mlx5_6 200 Gb/sec (4X HDR); its siblings run at 400 Gb/s",
    ),
    ("h100-infiniband", _file(f"{IB}/mlx5_6/ports/1/pkeys/0", "0x0000"), "rdma_pkey", "fail", "of mlx5_6"),
    ("h100-infiniband", _gone(f"{IB}/mlx5_11"), "rdma_count", "warn", "7 adapters for 8 GPUs"),
    (
        "h100-infiniband",
        _gone(f"{IB}/mlx5_11"),
        "rdma_affinity",
        "warn",
        "GPU 7 has no adapter on its PCIe switch",
    ),
    ("h100-infiniband", _gone("/dev/infiniband"), "rdma", "fail", "no /dev/infiniband/uverbs"),
    ("h100-infiniband", _gone(IB), "rdma", "fail", "has no RDMA adapter"),
    ("h100-infiniband", lambda tree: machines.devinfo(tree, 2048), "rdma_mtu", "warn", "the MTU is 2048"),
    (
        "h100-infiniband",
        _says(DEVICES, "", None, "not installed"),
        "rdma_mtu",
        "unknown",
        "ibv_devinfo: not installed",
    ),
    ("h100-infiniband", _proprietary, "peer_memory", "fail", "neither nvidia_peermem nor dmabuf"),
    (
        "h100-infiniband",
        _gone("/sys/module/nvidia_peermem"),
        "peer_memory",
        "pass",
        "dmabuf: open kernel modules",
    ),
    (
        "h100-infiniband",
        _file(PARAMS, 'EnableStreamMemOPs: 1\nRegistryDwords: ""\n'),
        "ibgda",
        "warn",
        "lacks PeerMappingOverride=1, and there is no /dev/gdrdrv",
    ),
    (
        "h100-infiniband",
        _file(
            "/proc/self/limits",
            "Limit\nMax locked memory         65536                65536                bytes\n",
        ),
        "memlock",
        "warn",
        "limited to 64 KiB",
    ),
    (
        "h200-roce",
        _gone(f"{IB}/mlx5_2/ports/1/gids/3"),
        "rdma_gid",
        "fail",
        "mlx5_2 has no RoCE v2 GID with an IPv4",
    ),
    (
        "h200-roce",
        _file(f"{IB}/mlx5_2/ports/1/link_layer", "InfiniBand"),
        "rdma_ports",
        "fail",
        "different link layers",
    ),
    ("gb200", _gone("/dev/nvidia-caps-imex-channels"), "nvlink_domain", "fail", "no IMEX channel"),
    (
        "gb200",
        _swap(SMI, "<clusterUuid>8d3e5f1a-", "<clusterUuid>00000000-"),
        "nvlink_domain",
        "fail",
        "in no NVLink domain",
    ),
]


@pytest.mark.parametrize(
    ("kind", "hurt", "check", "result", "part"),
    SICK,
    ids=[f"{row[2]}-{number}" for number, row in enumerate(SICK)],
)
def test_a_sick_machine_is_told_what_is_wrong_and_what_helps(
    tmp_path: Path, kind: str, hurt: Callable[[Tree], None], check: str, result: str, part: str
) -> None:
    tree = machines.MACHINES[kind](tmp_path / kind)
    hurt(tree)
    needs = [*ALL, "mnnvl"] if kind == "gb200" else ALL
    line = look(tree, needs, gpus=4 if kind == "gb200" else 8)[check]
    assert (line["result"], part in line["text"]) == (result, True), line
    if result in ("fail", "warn"):
        assert line["remedy"]


def test_every_check_of_a_gpu_host_is_seen_failing_or_warning() -> None:
    seen = {row[2] for row in SICK if row[3] in ("fail", "warn")}
    elsewhere = {
        "python",
        "torch",
        "work_dir",
        "logout",
        "interface",
        "limits",
        "jit_cache",
        "container",
        "image_space",
        "gdrcopy",
    }
    assert {check.name for check in CHECKS} - elsewhere - NEVER == seen


def test_a_gid_index_that_is_forced_must_be_there(tmp_path: Path) -> None:
    tree = machines.h200_roce(tmp_path / "m")
    assert look(tree, environment={"NCCL_IB_GID_INDEX": "3"})["rdma_gid"]["result"] == "pass"
    line = look(tree, environment={"NCCL_IB_GID_INDEX": "1"})["rdma_gid"]
    assert (line["result"], line["remedy"].split(":")[0]) == ("fail", "remove NCCL_IB_GID_INDEX")


def test_the_test_environment_chooses_the_adapters(tmp_path: Path) -> None:
    tree = machines.h100_infiniband(tmp_path / "m")
    for value, name in (("=mlx5_0:1,mlx5_3:1", "NCCL_IB_HCA"), ("mlx5_0:1,mlx5_3", "NVSHMEM_HCA_LIST")):
        assert look(tree, environment={name: value})["rdma"]["text"].startswith("mlx5_0, mlx5_3 (")
    # NCCL takes beginnings of names; `^` leaves out.
    assert "mlx5_10, mlx5_11" in look(tree, environment={"NCCL_IB_HCA": "^mlx5_0,mlx5_2"})["rdma"]["text"]
    assert look(tree, environment={"NCCL_IB_HCA": "bnxt"})["rdma"]["result"] == "fail"


PODMAN_OF_ROOT = {**machines.PODMAN, "host": {"security": {"rootless": False}}}
ROOTLESS_DOCKER = {**machines.DOCKER, "SecurityOptions": ["name=rootless"]}


@pytest.mark.parametrize(
    ("runtime", "info", "hard", "result", "part"),
    [
        ("docker", machines.DOCKER, "65536", "warn", "the container asks for its own"),
        ("docker", ROOTLESS_DOCKER, "65536", "fail", "rootless docker gives at most the hard limit"),
        ("podman", PODMAN_OF_ROOT, "65536", "warn", "the container asks for its own"),
        ("podman", machines.PODMAN, "65536", "fail", "rootless podman gives at most the hard limit"),
        ("podman", machines.PODMAN, "unlimited", "warn", "the container asks for its own"),
        ("enroot", None, "unlimited", "fail", "enroot has the limits of the session"),
    ],
)
def test_who_can_raise_the_limit_of_locked_memory(
    tmp_path: Path, runtime: str, info: Any, hard: str, result: str, part: str
) -> None:
    tree = machines.h100_infiniband(tmp_path / "m")
    tree.file(
        "/proc/self/limits",
        f"Limit\nMax locked memory         65536                {hard}            bytes\n",
    )
    tree.command(RUNTIMES[runtime], json.dumps(info) if info else "3.5.0\n")
    line = look(tree, [*ALL, "container"], runtimes=[runtime])["memlock"]
    assert (line["result"], part in line["text"]) == (result, True), line


def test_what_a_run_can_do_without_is_a_warning(tmp_path: Path) -> None:
    """nccl over several hosts falls back to TCP where there is no RDMA."""
    tree = machines.h100_infiniband(tmp_path / "m")
    tree.remove(IB)
    line = look(tree, ["host", "peers", "gpu", "network"])["rdma"]
    assert (line["result"], line["needs"]) == ("warn", ["rdma"])
    assert "rdma" not in look(tree, ["host", "gpu", "nvlink"])


@pytest.mark.parametrize(
    ("runtime", "says", "result", "part"),
    [
        ("docker", (json.dumps(machines.DOCKER), 0, ""), "pass", "docker 27.3.1, overlay2"),
        (
            "docker",
            (json.dumps({**machines.DOCKER, "Runtimes": {"runc": {}}}), 0, ""),
            "fail",
            "cannot give GPUs",
        ),
        (
            "docker",
            ("", 1, "permission denied while trying to connect to the Docker daemon socket"),
            "fail",
            "permission denied",
        ),
        (
            "docker",
            (json.dumps({"ServerErrors": ["Cannot connect to the Docker daemon"]}), 0, ""),
            "fail",
            "does not answer",
        ),
        ("docker", ("", None, "no answer within 15 s"), "fail", "no answer"),
        ("podman", (json.dumps(machines.PODMAN), 0, ""), "fail", "no CDI specification"),
        ("enroot", ("3.5.0\n", 0, ""), "pass", "enroot 3.5.0"),
        ("enroot", None, "fail", "enroot is not installed"),
    ],
)
def test_the_container_runtime(tmp_path: Path, runtime: str, says: Any, result: str, part: str) -> None:
    tree = machines.h200_roce(tmp_path / "m")
    if says:
        tree.command(RUNTIMES[runtime], *says)
    line = look(tree, ["host", "gpu", "container"], runtimes=[runtime])["container"]
    assert (line["result"], part in line["text"]) == (result, True), line


def test_vfs_and_little_room_for_images_are_told(tmp_path: Path) -> None:
    tree = machines.cpu_only(tmp_path / "cpu")
    tree.command(
        RUNTIMES["podman"],
        json.dumps({**machines.PODMAN, "store": {"graphDriverName": "vfs", "graphRoot": "/x"}}),
    )
    found = look(tree, ["host", "container"], runtimes=["podman"], image_free_mib=60000)
    assert "vfs copies every layer" in found["container"]["text"]
    assert found["image_space"]["result"] == "fail"


def test_a_named_address_must_be_the_hosts_own(tmp_path: Path) -> None:
    tree = machines.cpu_only(tmp_path / "m")
    assert look(tree, ["host"], master_address="127.0.0.1")["interface"]["text"] == "127.0.0.1 is this host's"
    line = look(tree, ["host"], master_address="192.0.2.7", interfaces=["=lo"])["interface"]
    assert line["result"] == "fail"
    assert line["text"] == (
        "deepep_master_address 192.0.2.7 is no address of this host, which has 127.0.0.1 (lo)"
    )
    real = examine({"needs": ["host"], "master_address": "127.0.0.1"}, Probe())["checks"]
    assert next(one for one in real if one["name"] == "interface")["result"] == "pass"
    real = examine({"needs": ["host"], "master_address": "192.0.2.7"}, Probe())["checks"]
    assert "127.0.0.1 (lo)" in next(one for one in real if one["name"] == "interface")["text"]


@pytest.mark.parametrize(
    ("spec", "result"),
    [
        ("=lo", "pass"),
        ("lo", "pass"),
        ("=eth0", "fail"),
        ("^docker", "fail"),
        ("^lo,docker", "fail"),
        ("ib", "fail"),
    ],
)
def test_interfaces_are_chosen_as_nccl_does(tmp_path: Path, spec: str, result: str) -> None:
    tree = machines.cpu_only(tmp_path / "cpu")
    assert look(tree, ["host"], interfaces=[spec])["interface"]["result"] == result


def test_shared_file_systems_are_told(tmp_path: Path) -> None:
    tree = machines.h200_roce(tmp_path / "m")
    tree.file("/proc/self/mounts", "/dev/sda1 / ext4 rw 0 0\nnas:/home /home nfs4 rw 0 0\n")
    found = look(tree, work_dir="/home/u/deepep", jit_caches=["/home/u/.deep_ep"])
    assert [found[name]["result"] for name in ("work_dir", "jit_cache")] == ["warn", "warn"]
    found = look(tree, work_dir="/homes/deepep", jit_caches=["/scratch/x"])
    assert [found[name]["result"] for name in ("work_dir", "jit_cache")] == ["pass", "pass"]


@pytest.mark.parametrize(
    ("result", "part", "wanted"),
    [
        ("warn", "deepep_jit_cache_dir /home/u/jit is on a", {"jit_cache_dir": "/home/u/jit"}),
        ("warn", "/home/u/deepep/jit is on a", {"work_dir": "/home/u/deepep"}),
        ("pass", "/scratch/jit: local", {"jit_cache_dir": "/scratch/jit", "work_dir": "/home/u/deepep"}),
        ("pass", "/scratch/jit: local", {"work_dir": "/scratch"}),
        # The test's own wins, and containers are not all: bare hosts have theirs in the temporary directory.
        ("pass", "EP_JIT_CACHE_DIR=/x: local",
         {"jit_cache_dir": "/home/u", "jit_caches": ["/x"]}),
        ("unknown", "EP_JIT_CACHE_DIR=$HOME/x is a path only",
         {"jit_caches": ["$HOME/x"]}),
        # One test that names a place says nothing of the others.
        ("warn", "deepep_jit_cache_dir /home/u is on a",
         {"jit_cache_dir": "/home/u", "jit_caches": ["/x", ""]}),
        ("warn", "EP_JIT_CACHE_DIR=/home/y is on a", {"jit_caches": ["/x", "/home/y"]}),
        ("pass", f"/scratch/jit, {tempfile.gettempdir()}: local",
         {"needs": ["gpu", "container", "torch"], "work_dir": "/scratch"}),
        ("pass", f"{tempfile.gettempdir()}: local",
         {"needs": ["gpu", "torch"], "runtimes": [], "jit_cache_dir": "/home/u"}),
    ],
)  # fmt: skip
def test_compiled_kernels_are_looked_for_where_runs_keep_them(
    tmp_path: Path, result: str, part: str, wanted: dict[str, Any]
) -> None:
    tree = machines.h200_roce(tmp_path / "m")
    tree.file("/proc/self/mounts", "/dev/sda1 / ext4 rw 0 0\nnas:/home /home nfs4 rw 0 0\n")
    line = look(tree, **{"needs": ["gpu", "container"], "runtimes": ["docker"], **wanted})["jit_cache"]
    assert (line["result"], part in line["text"]) == (result, True), line


# As systemd 252 shows an SSH session, a terminal of a desktop, and what is neither.
OF_SESSION = "0::/user.slice/user-1001.slice/session-4.scope"
OF_MANAGER = "0::/user.slice/user-1001.slice/user@1001.service/app.slice/run-rd55f.scope"
OF_SERVICE = "0::/system.slice/ssh.service"


@pytest.mark.parametrize(
    ("group", "uid", "killing", "there", "result", "part"),
    [
        (OF_SESSION, 1001, "b false\nas 0\nas 0\n", [], "pass", "what plain left running stays"),
        (OF_SESSION, 1001, "b true\nas 0\nas 0\n", [], "warn", "ends what plain left running once"),
        # Lingering saves the user's service manager, not what is in the session's scope.
        (OF_SESSION, 1001, "b true\nas 0\nas 0\n", ["linger/plain"], "warn", "ends what plain"),
        (OF_SESSION, 1001, 'b true\nas 0\nas 2 "plain" "root"\n', [], "pass", "stays"),
        (OF_SESSION, 1001, 'b true\nas 1 "other"\nas 0\n', [], "pass", "stays"),
        (OF_SESSION, 1001, 'b false\nas 1 "plain"\nas 0\n', [], "warn", "ends what plain"),
        (OF_SESSION.replace("1001", "0"), 0, "b true\nas 0\nas 0\n", [], "pass", "what root left"),
        (OF_SESSION.replace("1001", "0"), 0, 'b true\nas 0\nas 1 "plain"\n', [], "warn", "what root left"),
        (OF_SESSION, 1001, None, [], "unknown", "does not say whether it ends what a login left"),
        (OF_SESSION, 1001, "b maybe\n", [], "unknown", "its answer is not known"),
        # With become: of root, and of a user who is logged in elsewhere too.
        (OF_SESSION, 0, "b false\nas 0\nas 0\n", ["user/0"], "pass", "what plain left"),
        (OF_SESSION, 1002, "b false\nas 0\nas 0\n", [], "pass", "what plain left"),
        (OF_SESSION, 1002, "b false\nas 0\nas 0\n", ["user/1002"], "warn", "another login of ops"),
        (OF_SESSION, 1002, "b true\nas 0\nas 0\n", ["user/1002"], "warn", "ends what plain left running"),
        (OF_SESSION, 1002, "b false\nas 0\nas 0\n", ["user/1002", "linger/ops"], "pass", "what plain left"),
        (OF_MANAGER, 1001, None, [], "warn", "ends with plain's last login"),
        (OF_MANAGER, 1001, None, ["linger/plain", "user/1001"], "pass", "plain lingers"),
        (OF_SERVICE, 1001, None, [], "pass", "no login of systemd's"),
        (None, 1001, None, [], "unknown", "cgroup cannot be read"),
    ],
)  # fmt: skip
def test_what_ends_with_a_login_is_told(
    tmp_path: Path, group: str | None, uid: int, killing: str | None, there: list[str], result: str, part: str
) -> None:
    tree = machines.cpu_only(tmp_path / "m")
    assert look(tree, ["host", "torch"])["logout"]["text"] == "systemd does not run this host"
    tree.file("/run/systemd/system/x.conf", "")
    tree.file("/proc/self/status", f"Name:\tpython3\nUid:\t1001\t{uid}\t{uid}\t{uid}")
    if group:
        tree.file("/proc/self/cgroup", f"9:name=systemd:{group[3:]}\n{group}")
    if killing:
        tree.command(LOGIND, killing)
    for number, name in ((0, "root"), (1001, "plain"), (1002, "ops")):
        tree.command(("id", "-un", str(number)), f"{name}\n")
    for name in there:
        where = "/var/lib/systemd" if name.startswith("linger") else "/run"
        tree.file(f"{where}/{name}", "")
    line = look(tree, ["host", "torch"])["logout"]
    assert "logout" not in look(tree, ["host"]), "a login host of Slurm's"
    assert (line["result"], part in line["text"]) == (result, True), line
    if result == "warn":
        lingering = part == "another login of ops" or group == OF_MANAGER
        assert line["remedy"].startswith("loginctl enable-linger" if lingering else "KillExcludeUsers=root")


def test_a_check_that_meets_what_it_never_saw_says_so(tmp_path: Path) -> None:
    tree = machines.h200_roce(tmp_path / "m")
    tree.file(f"{IB}/mlx5_0/ports/1/gids/3", "0000:0000:0000:0000:0000:ffff:zzzz:zzzz")
    line = look(tree)["rdma_gid"]
    assert (line["result"], line["text"].startswith("not checked: ValueError")) == ("unknown", True)


def test_this_machine_is_examined_and_recorded_and_the_recording_says_the_same(tmp_path: Path) -> None:
    wanted = {
        "needs": [*ALL, "network"],
        "gpus": 1,
        "work_dir": str(tmp_path / "work"),
        "interfaces": ["=lo"],
    }
    before = examine(wanted, Recorder(tmp_path / "kept"))
    after = examine(wanted, Recorded(tmp_path / "kept"))

    def said(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
        return {line["name"]: (line["result"], line["text"]) for line in found["checks"]}

    assert said(before) == said(after)
    assert not (tmp_path / "work").exists()


def test_a_work_directory_is_made_on_request_and_never_taken_from_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "work"
    found = examine({"needs": ["host"], "work_dir": str(path)}, Probe(), create=True)
    assert (found["result"], path.is_dir()) == ("pass", True)
    (tmp_path / "link").symlink_to(path)
    found = examine({"needs": ["host"], "work_dir": str(tmp_path / "link")}, Probe(), create=True)
    assert found["result"] == "fail"


def test_torch_is_asked_for_gpus_where_they_are_needed(tmp_path: Path) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text(
        f'#!{sys.executable}\nprint(\'@torch@{{"version": "2.8", "gpus": 0, "cuda_build": "12.8"}}\')\n'
    )
    stand_in.chmod(0o755)
    probe = Probe()
    line = examine({"needs": ["host", "torch"], "python": str(stand_in)}, probe)["checks"][1]
    assert (line["name"], line["result"]) == ("torch", "pass")
    lines = examine({"needs": ["host", "torch", "gpu"], "python": str(stand_in)}, probe)["checks"]
    line = next(line for line in lines if line["name"] == "torch")
    assert (line["result"], "torch sees no GPU" in line["text"]) == ("fail", True)


def test_commands_that_hang_do_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "nvidia-smi"
    slow.write_text("#!/bin/sh\nsleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("deepep_host.preflight.probe.TIMEOUT_S", 0.5)
    found = examine({"needs": ["host", "gpu"], "gpus": 8}, Probe())
    line = next(line for line in found["checks"] if line["name"] == "gpu_driver")
    assert "no answer within" in line["text"]
