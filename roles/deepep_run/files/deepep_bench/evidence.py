"""Versions as this process has them; null where there is none."""

from __future__ import annotations

import platform

import torch

from .backends.base import Backend


def versions(backend: Backend) -> dict[str, str | None]:
    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "deep_ep": None,
        "cuda": torch.version.cuda,
        "nccl": None,
        "nvshmem": None,
    }
    found.update(backend.versions())
    return found
