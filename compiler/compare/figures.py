"""Which figures of a record are compared, and which direction is the good one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Better(StrEnum):
    """Direction in which a figure improves."""

    LOWER = "lower"
    HIGHER = "higher"


@dataclass(frozen=True, slots=True)
class Figure:
    """A key of a record in ``results.json``. ``scale`` turns it into ``unit`` for people."""

    key: str
    title: str
    unit: str
    scale: float
    better: Better


FIGURES = (
    Figure("deepep_time", "time", "ms", 1e3, Better.LOWER),
    Figure("kernel_time", "kernel time", "ms", 1e3, Better.LOWER),
    Figure("global_bw", "global bandwidth", "GB/s", 1.0, Better.HIGHER),
    Figure("simple_nvl_bw", "NVLink bandwidth", "GB/s", 1.0, Better.HIGHER),
    Figure("simple_rdma_bw", "RDMA bandwidth", "GB/s", 1.0, Better.HIGHER),
)
"""One value per start each; every one is compared where the records of both trees have it."""

TESTED_KERNEL_TIME = "tested_kernel_time"
"""What records of the first format call ``kernel_time``: of another call, so that it is another figure."""

COMPARED = (
    *FIGURES,
    Figure(TESTED_KERNEL_TIME, "kernel time in DeepEP's own test", "ms", 1e3, Better.LOWER),
)
