"""What this process really has: versions, loaded libraries, environment, GPUs; null where there is none."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from pathlib import Path
from typing import Mapping, Sequence

import torch

from .backends.base import Backend
from .errors import RefusedError

_PREFIXES = ("NCCL_", "NVSHMEM_", "EP_", "CUDA_", "TORCH_SYMM_MEM_", "OMP_NUM_THREADS", "UCX_", "FI_")
_SECRET = ("TOKEN", "SECRET", "PASSWORD", "KEY", "CREDENTIAL")
_HARMLESS = ("python", "kernel")  # versions that may differ between hosts
_LIBRARIES = ("libnccl", "libnvshmem_host", "libcudart", "libcuda.so")


def versions(backend: Backend) -> dict[str, str | None]:
    """Of everything that the figures depend on."""
    loaded = loaded_libraries()
    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "deep_ep": None,
        "cuda": torch.version.cuda,
        "nccl": _nccl(loaded.get("libnccl")),
        "nvshmem": _nvshmem(loaded.get("libnvshmem_host")),
        "kernel": platform.release(),
    }
    found.update(backend.versions())
    return found


def refuse_unless_same(hosts: Sequence[tuple[str, Mapping[str, str | None]]]) -> list[str]:
    """Compares (host, versions) of every rank. Returns a sentence for each harmless difference.

    :raises RefusedError: what moves the tokens differs, so that the figure would belong to no version
    """
    notes = []
    first_host, first = hosts[0]
    for name in first:
        others = [(host, found.get(name)) for host, found in hosts if found.get(name) != first[name]]
        if not others:
            continue
        told = f"{name} is {first[name]} on host {first_host} and {others[0][1]} on host {others[0][0]}"
        if name not in _HARMLESS:
            raise RefusedError(f"{told}: run the same image, or install the same versions, on every host")
        notes.append(told)
    return notes


def loaded_libraries(maps: Path = Path("/proc/self/maps")) -> dict[str, str]:
    """Path of each library that moves tokens, as mapped into this process; several joined by ' and '."""
    try:
        lines = maps.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    paths = sorted({line.split()[-1] for line in lines if "/" in line})
    found = {
        name: [path for path in paths if os.path.basename(path).startswith(name)]  # noqa: PTH119
        for name in _LIBRARIES
    }
    return {name: " and ".join(each) for name, each in found.items() if each}


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables that change the figures, as they are now: libraries set some themselves. Never a secret."""
    return {
        name: value
        for name, value in sorted(environ.items())
        if name.startswith(_PREFIXES) and not any(word in name for word in _SECRET)
    }


def gpu_uuid(device: torch.device) -> str | None:
    """As nvidia-smi writes it; None for a CPU, or where torch is too old to tell."""
    if device.type != "cuda":
        return None
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return None if uuid is None else f"GPU-{uuid}"


def _nccl(path: str | None) -> str | None:
    """Of the library that is loaded, not of the one that torch was built with."""
    if path is None or " and " in path:
        return path
    try:
        number = ctypes.c_int()
        ctypes.CDLL(path).ncclGetVersion(ctypes.byref(number))
    except (OSError, AttributeError):
        return None
    value = number.value
    major, rest = divmod(value, 10000) if value >= 10000 else divmod(value, 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def _nvshmem(path: str | None) -> str | None:
    """As _nccl; what pip says belongs to another library where the image was built with its own."""
    if path is None or " and " in path:
        return path
    numbers = [ctypes.c_int() for _ in range(3)]
    try:
        ctypes.CDLL(path).nvshmemx_vendor_get_version_info(*map(ctypes.byref, numbers))
    except (OSError, AttributeError):
        told = re.search(r"\.so\.(\d+(?:\.\d+)+)$", path)
        return told[1] if told else f"not told by {path}"
    return ".".join(str(number.value) for number in numbers)
