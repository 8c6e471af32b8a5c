"""Profilers: a Kineto trace per rank, from iterations of their own so that no timed one is disturbed; and
what nsys, around the whole program, is told of its phases.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Callable, ContextManager, Iterator

import torch

from .modes.base import Measurement

PROFILED_ITERATIONS = 3
_NSYS = "NSYS_PROFILING_SESSION_ID"  # nsys sets it for what it starts


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


@contextmanager
def captured(device: torch.device, patient: Callable[[], ContextManager[None]]) -> Iterator[None]:
    """The range of ``nsys profile --capture-range=cudaProfilerApi``; nothing without nsys.

    nsys stops all threads of the process until the trace is written, two minutes for 2 GB were seen: others
    have to be ``patient`` meanwhile. After an exception the range stays open, so that nothing is waited for.
    """
    if not _under_nsys(device):
        yield
        return
    torch.cuda.profiler.start()
    yield
    with patient():
        torch.cuda.profiler.stop()


def named(device: torch.device, name: str) -> ContextManager[Any]:
    """What runs in here has a name on nsys's time line (NVTX)."""
    return torch.cuda.nvtx.range(name) if _under_nsys(device) else nullcontext()


def around() -> str | None:
    """The profiler that runs around the whole program: times are not those of a plain run then."""
    return "nsys" if _NSYS in os.environ else None


def _under_nsys(device: torch.device) -> bool:
    return device.type == "cuda" and _NSYS in os.environ
