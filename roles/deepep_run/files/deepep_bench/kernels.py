"""How long the kernels of a timed call take: the same call on the same inputs, begun in the same way, in the
profiler after the timed part, so that no timed call is profiled."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Sequence

from .device import Device
from .modes.base import Measurement
from .own_test import PROFILED_CALLS, mean, seen


@dataclass(frozen=True)
class KernelTimes:
    """Of one measurement on one rank.

    seconds: of each kernel (its key in Measurement.kernels) in each profiled iteration, the mean over a
    graph's operations. missing: sentences about kernels that are not known.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def profile(device: Device, measurement: Measurement) -> KernelTimes:
    """All ranks at once, as they are timed."""
    measurement.prepare()
    times = device.kernel_times(
        measurement.call,
        measurement.kernels,
        PROFILED_CALLS,
        before_all=lambda: None,
        before_each=lambda: device.align(measurement.hide_host),
    )
    calls = measurement.calls
    found, missing = seen(times, measurement.kernels, PROFILED_CALLS * calls)
    seconds = {
        key: [mean(values[first : first + calls]) for first in range(0, len(values), calls)]
        for key, values in found.items()
    }
    return KernelTimes(seconds, list(missing.values()))


def of_slowest(ranks: Sequence[KernelTimes]) -> dict[str, float]:
    """Seconds of each kernel that every rank knows: median over the iterations, each of the rank whose
    kernels take longest together: of one rank, so that parts add up."""
    keys = [key for key in ranks[0].seconds if all(key in rank.seconds for rank in ranks)]
    per_rank = [list(zip(*(rank.seconds[key] for key in keys))) for rank in ranks]
    slowest = [max(iteration, key=sum) for iteration in zip(*per_rank)]
    return {key: statistics.median(values) for key, values in zip(keys, zip(*slowest))}
