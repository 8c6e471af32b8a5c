"""What a mode is: inputs, the operations that are timed, and their check."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Callable

import torch

from ..backends.base import Backend
from ..config import Config
from ..faults import Faults
from ..quantize import dequantize
from ..reference import Checked, Reference
from ..tokens import TokenPool, expert_factors
from ..world import World

_ROWS_AT_ONCE = 256


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

    @abstractmethod
    def operations(self) -> dict[str, Callable[[], object]]:
        """Name -> one call, in the order in which they are timed. Call ``check`` first."""

    @abstractmethod
    def check(self, phase: str) -> dict[str, Checked]:
        """Run every operation once and compare with the reference.

        :raises WrongDataError: the first difference
        """


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
