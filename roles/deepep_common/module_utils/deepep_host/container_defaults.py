"""What a container gets by default, in one table: the launcher reads it, and ``docs/containers.md`` shows it.

``deepep_container_without`` names rows to leave out, ``deepep_container_privileged`` chooses between two of
them, and ``deepep_container_options`` comes after all of them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

WHENS = ("always", "gpus", "infiniband", "gdrcopy", "privileged", "unprivileged")
"""When a row applies: always, where the host has such devices, or by ``deepep_container_privileged``."""


class Default(NamedTuple):
    """One row. ``name`` may repeat; ``infiniband+unprivileged`` in ``when`` means both.

    ``docker`` and ``podman`` are options of their ``create``; ``enroot`` options of ``enroot start``, and
    ``enroot_env`` what its hooks read.
    """

    name: str
    when: str
    docker: tuple[str, ...]
    podman: tuple[str, ...]
    enroot: tuple[str, ...]
    enroot_env: tuple[tuple[str, str], ...]
    why: str


def _both(name: str, when: str, options: tuple[str, ...], why: str) -> Default:
    return Default(name, when, options, options, (), (), why)


DEFAULTS = (
    _both("network", "always", ("--network=host",),
          "NICs, and the addresses at which hosts meet; enroot always shares the host's"),
    _both("ipc", "always", ("--ipc=host",),
          "shared memory between ranks (NCCL, NVSHMEM, torch) of the host's size, not 64 MiB"),
    _both("uts", "always", ("--uts=host",),
          "the host's own name: NCCL tells hosts apart by it"),
    _both("label", "always", ("--security-opt=label=disable",),
          "SELinux would refuse the mounted directories"),
    _both("pids", "always", ("--pids-limit=-1",),
          "podman's 2048 threads are too few for eight ranks"),
    _both("memlock", "always", ("--ulimit=memlock=-1:-1",),
          "RDMA registers, and so locks, its buffers; enroot has the limits of the SSH session"),
    _both("stack", "always", ("--ulimit=stack=67108864:67108864",),
          "64 MiB, as NVIDIA's images ask for"),
    _both("nofile", "always", ("--ulimit=nofile=1048576:1048576",),
          "one descriptor per connection and rank"),
    _both("oom", "always", ("--oom-score-adj=500",),
          "where memory runs out, the kernel ends the program before the supervisor or sshd"),
    Default("gpus", "gpus", ("--gpus=all",), ("--device=nvidia.com/gpu=all",), (),
            (("NVIDIA_VISIBLE_DEVICES", "all"), ("NVIDIA_DRIVER_CAPABILITIES", "compute,utility")),
            "all GPUs: docker through the NVIDIA Container Toolkit, podman through its CDI file, enroot "
            "through its hook 98-nvidia.sh"),
    _both("rights", "privileged", ("--privileged",),
          "all devices; NVSHMEM's IBGDA needs the right to map the NIC's doorbells (DEVX)"),
    _both("rights", "unprivileged", ("--cap-add=IPC_LOCK", "--cap-add=SYS_NICE", "--cap-add=SYS_RESOURCE",
                                     "--cap-add=SYS_PTRACE"),
          "locking memory, NUMA policy, limits, and the exchange of CUDA memory handles between ranks"),
    _both("infiniband", "infiniband+unprivileged",
          ("--device=/dev/infiniband", "--volume=/sys/class/infiniband:/sys/class/infiniband:ro"),
          "the NICs' verbs devices, and where their state is read"),
    Default("infiniband", "infiniband", (), (),
            ("--mount=/dev/infiniband:/dev/infiniband:none:x-create=dir,rbind,rw",
             "--mount=/sys/class/infiniband:/sys/class/infiniband:none:x-create=dir,rbind,ro"), (),
            "the same for enroot, also where its hook for MELLANOX_VISIBLE_DEVICES hides them"),
    _both("gdrcopy", "gdrcopy+unprivileged", ("--device=/dev/gdrdrv",),
          "GDRCopy, for IBGDA with the CPU's help"),
    Default("gdrcopy", "gdrcopy", (), (), ("--mount=/dev/gdrdrv:/dev/gdrdrv:none:x-create=file,bind,rw",), (),
            "the same for enroot"),
    Default("jit_cache", "always", (), (), (), (),
            "kernels that DeepEP V2 compiles at run time are kept on the host, in one directory per image "
            "(deepep_jit_cache_dir), mounted at its own path and named by EP_JIT_CACHE_DIR"),
)  # fmt: skip
"""Sources: docs/containers.md. The order is that of the command line."""

NAMES = tuple(dict.fromkeys(row.name for row in DEFAULTS))
"""What ``deepep_container_without`` may name."""


def devices(root: str = "/") -> frozenset[str]:
    """Returns which of ``gpus``, ``infiniband`` and ``gdrcopy`` the host below ``root`` has."""
    dev = Path(root) / "dev"
    found = {
        "gpus": (dev / "nvidiactl").exists(),
        "infiniband": _any_entry(dev / "infiniband"),
        "gdrcopy": (dev / "gdrdrv").exists(),
    }
    return frozenset(name for name, there in found.items() if there)


def chosen(privileged: bool, without: tuple[str, ...], has: frozenset[str]) -> tuple[Default, ...]:
    """Returns the rows that apply to a host with the devices ``has``."""
    true = {"always", "privileged" if privileged else "unprivileged", *has}
    return tuple(row for row in DEFAULTS if row.name not in without and true.issuperset(row.when.split("+")))


def _any_entry(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(True for _ in entries)
    except OSError:
        return False
