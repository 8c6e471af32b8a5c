"""Kineto: one Chrome trace per rank, from iterations of their own so that no timed one is disturbed."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import torch

from .modes.base import Measurement

PROFILED_ITERATIONS = 3


def write_trace(
    measurements: list[Measurement], barrier: Callable[[], None], device: torch.device, path: Path
) -> None:
    """Run each operation a few times under torch.profiler and write ``path``."""
    from torch.profiler import ProfilerActivity, profile, record_function

    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiled:
        for each in measurements:
            each.prepare()
            for _ in range(PROFILED_ITERATIONS):
                barrier()
                with record_function(each.name):
                    each.call()
        barrier()
    path.parent.mkdir(parents=True, exist_ok=True)
    profiled.export_chrome_trace(str(path))
