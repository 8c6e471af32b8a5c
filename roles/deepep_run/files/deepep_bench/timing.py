"""How long an operation takes: barrier, one call, clock; and what is made of the times."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Callable, Sequence

import torch

Operation = Callable[[], object]


def time_wall(operation: Operation) -> float:
    """Seconds of one call by the clock of the CPU, for backends that return when they are done."""
    start = time.perf_counter()
    operation()
    return time.perf_counter() - start


def time_events(operation: Operation) -> float:
    """Seconds of one call between two CUDA events on the current stream."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    operation()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3


TIMERS: dict[str, Callable[[Operation], float]] = {
    "wall": time_wall,
    "events": time_events,
    "graph": time_events,
}


def measure(
    operation: Operation,
    timer: Callable[[Operation], float],
    align: Callable[[], None],
    iterations: int,
    before_each: Callable[[int], None],
) -> list[float]:
    """Seconds of each iteration on this rank, counted from where ``align`` lets all ranks begin together.

    ``before_each`` and ``align`` are not timed.
    """
    times = []
    for number in range(iterations):
        before_each(number)
        align()
        times.append(timer(operation))
    return times


@dataclass(frozen=True)
class Summary:
    """Of a list of times, s."""

    median: float
    mean: float
    min: float
    max: float
    p50: float
    p90: float
    p95: float
    p99: float


def percentile(values: Sequence[float], percent: float) -> float:
    """Linear between the two nearest ranks."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100.0
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def summarise(values: Sequence[float]) -> Summary:
    """Summary of at least one value."""
    p50 = percentile(values, 50)
    return Summary(
        median=p50,
        mean=math.fsum(values) / len(values),
        min=min(values),
        max=max(values),
        p50=p50,
        p90=percentile(values, 90),
        p95=percentile(values, 95),
        p99=percentile(values, 99),
    )


def slowest(per_rank: Sequence[Sequence[float]]) -> list[float]:
    """For each iteration the time of its slowest rank."""
    return [max(times) for times in zip(*per_rank)]
