"""How DeepEP's own tests measure, step by step, so that figures can be compared with what they print."""

from __future__ import annotations

import math
import statistics
from typing import Callable, Sequence

from .device import Device

WARMUPS = 50
CALLS = 50
PROFILED_CALLS = 30
BACK_TO_BACK = "mean of 49 of 50 calls, back to back after 50 warm-ups, CUDA events, no barrier between them"
PROFILED_TOGETHER = "mean kernel time of 30 calls in the profiler, one barrier before the first"
PROFILED_APART = "mean kernel time of 30 calls in the profiler, caches flushed and a barrier before each"


def back_to_back(device: Device, call: Callable[[], object]) -> float:
    """Mean seconds of a call; the first timed one is dropped, since it finds a cold cache."""
    return mean(device.back_to_back(call, WARMUPS, CALLS)[1:])


def kernel_parts(values: Sequence[float]) -> dict[str, float]:
    """The mean, as the test prints it, and the median: the first call's wait for others is in the mean."""
    return {"kernel": mean(values), "kernel_median": statistics.median(values)}


def mean(values: Sequence[float]) -> float:
    """Mean of at least one value."""
    return math.fsum(values) / len(values)
