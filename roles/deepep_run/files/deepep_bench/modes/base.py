"""What a mode is: inputs, the operations that are timed, and their check."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Callable, Iterable, Iterator

import torch

from ..backends.base import Backend, Kernels, OwnTests
from ..config import Config
from ..faults import Faults
from ..quantize import dequantize
from ..reference import Checked, Reference
from ..tokens import TokenPool, expert_factors
from ..tuning import Tuned
from ..world import World

_ROWS_AT_ONCE = 256
_SIGNS = {1: (torch.uint8, 0x80), 2: (torch.int16, -0x8000)}  # by bytes of a value


@dataclass(frozen=True)
class Measurement:
    """One thing to time.

    timing: wall, events or graph. call: one iteration, of ``calls`` operations. prepare: before the first
    iteration of a series. hide_host: keep the CPU's launches out of the time. primary: the figure of its
    operation; the others stand beside it. baseline: not DeepEP but what it is compared with. kernels: of one
    operation, where they are known.
    """

    operation: str
    variant: str | None
    timing: str
    call: Callable[[], object]
    calls: int = 1
    prepare: Callable[[], None] = lambda: None
    hide_host: bool = True
    primary: bool = True
    baseline: bool = False
    kernels: Kernels = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Unique in a run: the operation alone for its primary figure."""
        if self.primary:
            return self.operation
        return f"{self.operation}/{'nccl_' if self.baseline else ''}{self.variant}"


class Mode(ABC):
    """One mode on one backend, with this rank's inputs."""

    def __init__(self, config: Config, world: World, backend: Backend, faults: Faults) -> None:
        self.config = config
        self.world = world
        self.device = backend.device
        self.faults = faults
        pool = TokenPool(config, self.device)
        self.reference = Reference(config, world, pool, self.device)
        routing = self.reference.routings[world.rank]
        self.topk_idx = routing.topk_idx.to(self.device)
        self.topk_weights = routing.topk_weights.to(self.device)
        first = world.rank * config.tokens
        self.x = pool.rows(torch.arange(first, first + config.tokens, device=self.device))
        local_experts = config.num_experts // world.size
        mine = slice(world.rank * local_experts, (world.rank + 1) * local_experts)
        self.factors = expert_factors(config, self.device)[mine]

    @property
    def compiles(self) -> bool:
        """Whether ``warm_up`` has kernels to compile."""
        return False

    def warm_up(self, tick: Callable[[str], None]) -> None:
        """Have every kernel compiled that will be called."""
        return None

    @abstractmethod
    def measurements(self) -> list[Measurement]:
        """In the order in which they are timed. Call ``check`` first."""

    @abstractmethod
    def check(self, phase: str) -> dict[str, Checked]:
        """Run everything that is measured once and compare with the reference; by Measurement.name.

        Each call moves other data first, and what that brought is spoiled: nothing right is left of earlier
        calls, in DeepEP's buffers and in the memory that results are put into, for a call that moves nothing.


        :raises WrongDataError: the first difference
        """

    def tune(self, tick: Callable[[str], None]) -> Tuned | None:
        """Search the fastest settings and use them; None where there is nothing to choose. Call ``check``
        first, and again afterwards."""
        return None

    def release(self) -> None:
        """Drop what must be gone before the backend closes."""
        return None

    @abstractmethod
    def own_tests(self, tick: Callable[[str], None]) -> OwnTests:
        """What DeepEP's own tests would print. Call ``check`` first."""


@contextmanager
def other_signs(*sent: torch.Tensor) -> Iterator[None]:
    """In here all values have the other sign, bit for bit; afterwards they are what they were."""
    _flip(sent)
    try:
        yield
    finally:
        _flip(sent)


def spoil(*brought: torch.Tensor | None) -> None:
    """Overwrite what a call brought: memory that is used again for the next call then holds nothing right."""
    for each in brought:
        if each is not None:
            (each.view(torch.uint8) if each.element_size() == 1 else each).fill_(
                math.nan if each.dtype.is_floating_point and each.element_size() > 1 else 0x7F  # nan in e4m3
            )


def _flip(tensors: Iterable[torch.Tensor]) -> None:
    for each in tensors:
        whole, sign = _SIGNS[each.element_size()]
        each.view(whole).bitwise_xor_(sign)


def run_experts(
    x: torch.Tensor, scales: torch.Tensor, rows: torch.Tensor, factors: torch.Tensor, out: torch.Tensor
) -> None:
    """out[rows] = x[rows] * factors (float32 [rows]) as bfloat16: what stands for the experts; not timed.

    x, out: [n, hidden]; scales [n, blocks], or an empty tensor for bfloat16.
    """
    for start in range(0, rows.numel(), _ROWS_AT_ONCE):
        part = rows[start : start + _ROWS_AT_ONCE]
        picked = x.view(torch.uint8)[part].view(x.dtype)
        value = dequantize(picked, scales[part] if scales.numel() else None)
        out[part] = (value * factors[start : start + _ROWS_AT_ONCE].unsqueeze(1)).to(torch.bfloat16)
