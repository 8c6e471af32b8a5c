"""What this process really has: versions, loaded libraries, environment, GPUs; null where there is none."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path
from typing import Mapping

import torch

from .backends.base import Backend

_PREFIXES = ("NCCL_", "NVSHMEM_", "EP_", "CUDA_", "TORCH_SYMM_MEM_", "OMP_NUM_THREADS", "UCX_", "FI_")
_SECRET = ("TOKEN", "SECRET", "PASSWORD", "KEY", "CREDENTIAL")
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
        "nvshmem": _package("nvidia-nvshmem-cu13", "nvidia-nvshmem-cu12")
        if "libnvshmem_host" in loaded
        else None,
        "kernel": platform.release(),
    }
    found.update(backend.versions())
    return found


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


def _package(*names: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None
