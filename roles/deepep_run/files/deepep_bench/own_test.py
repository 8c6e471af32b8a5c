"""How DeepEP's own tests measure, step by step, so that figures can be compared with what they print."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Callable, Mapping, Sequence

from .device import Device

WARMUPS = 50
CALLS = 50
PROFILED_CALLS = 30
PROFILED_APART = "mean kernel time of 30 calls in the profiler, caches flushed and a barrier before each"


@dataclass(frozen=True)
class V1Tests:
    """How the tests of one release of DeepEP time V1's calls.

    flushes: before each call, not only before the first. events, met, unmet: methods in words, with CUDA
    events, and by the profiler with ranks that met before and ranks that did not.
    """

    flushes: bool
    events: str
    met: str
    unmet: str

    def mean_time(self, device: Device, call: Callable[[], object]) -> float:
        """Mean seconds of a call; the first timed one is dropped, since it finds a cold cache."""
        return mean(device.back_to_back(call, WARMUPS, CALLS, self.flushes)[1:])

    def kernels_met(
        self, device: Device, call: Callable[[], object], kernels: Mapping[str, str]
    ) -> dict[str, list[float]]:
        """As Device.kernel_times: ranks meet before the first call, or before each."""

        def before_all() -> None:
            # the CPU gets ahead of the GPU, and all ranks begin together
            device.stay_busy()
            device.meet()

        if self.flushes:
            return device.kernel_times(call, kernels, PROFILED_CALLS, _nothing, device.settle)
        return device.kernel_times(call, kernels, PROFILED_CALLS, before_all, _nothing, warm=False)

    def kernels_unmet(
        self, device: Device, call: Callable[[], object], kernels: Mapping[str, str]
    ) -> dict[str, list[float]]:
        """As ``kernels_met``, without any barrier."""
        before_each = device.flush if self.flushes else _nothing
        return device.kernel_times(call, kernels, PROFILED_CALLS, _nothing, before_each, warm=self.flushes)


TESTS_OF_1 = V1Tests(
    flushes=False,
    events="as tests/ of DeepEP 1.2.1: mean of 49 of 50 calls, back to back after 50 warm-ups, CUDA events, "
    "no barrier between them",
    met="as tests/ of DeepEP 1.2.1: mean kernel time of 30 calls in the profiler, one barrier before the "
    "first",
    unmet="as tests/ of DeepEP 1.2.1: mean kernel time of 30 calls in the profiler, no barrier",
)
TESTS_OF_2 = V1Tests(
    flushes=True,
    events="as tests/legacy/ of DeepEP 2: mean of 49 of 50 calls after 50 warm-ups, CUDA events, caches "
    "flushed before each, no barrier between them",
    met=f"as tests/legacy/ of DeepEP 2: {PROFILED_APART}",
    unmet="as tests/legacy/ of DeepEP 2: mean kernel time of 30 calls in the profiler, caches flushed before "
    "each, no barrier",
)
"""deep_ep/utils/testing.py, which tests/legacy/ of 2.x imports."""


def seen(
    times: Mapping[str, Sequence[float]], kernels: Mapping[str, str], expected: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """(What the profiler saw as often as it ran, a sentence for every other kernel), by the keys of
    ``kernels``: no figure is better than a wrong one.

    times: of Device.kernel_times.
    """
    found, missing = {}, {}
    for key, part in kernels.items():
        values = list(times.get(key, []))
        if len(values) == expected:
            found[key] = values
        else:
            missing[key] = f"of {expected} kernels '{part}' the profiler saw {len(values)}"
    return found, missing


def kernel_parts(values: Sequence[float]) -> dict[str, float]:
    """The mean, as the test prints it, and the median: the first call's wait for others is in the mean."""
    return {"kernel": mean(values), "kernel_median": statistics.median(values)}


def mean(values: Sequence[float]) -> float:
    """Mean of at least one value."""
    return math.fsum(values) / len(values)


def _nothing() -> None:
    return None
