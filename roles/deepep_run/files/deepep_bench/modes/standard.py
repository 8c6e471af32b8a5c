"""Standard mode: dispatch once per destination rank, experts' weighted partial sums, combine."""

from __future__ import annotations

from typing import Callable

import torch

from ..backends.base import Backend, Payload, StandardReceived
from ..config import Config
from ..faults import Faults
from ..quantize import quantize
from ..reference import Checked
from ..world import World
from .base import Mode, run_experts


class StandardMode(Mode):
    def __init__(self, config: Config, world: World, backend: Backend, faults: Faults) -> None:
        super().__init__(config, world, backend, faults)
        self._exchange = backend.standard()
        # as in DeepEP: the caller quantises before a standard dispatch
        self._payload = (
            Payload(*quantize(self.x, config.round_scale, config.use_ue8m0))
            if config.fp8
            else Payload(self.x)
        )
        self._received: StandardReceived | None = None
        self._y = torch.empty(0)

    def operations(self) -> dict[str, Callable[[], object]]:
        return {"dispatch": self._dispatch, "combine": self._combine}

    def check(self, phase: str) -> dict[str, Checked]:
        received = self._dispatch()
        self.faults.corrupt("dispatch", phase, received.payload.x)
        dispatched = self.reference.check_standard_dispatch(received)
        self._y = self._partial_sums(received)
        combined = self._combine()
        self.faults.corrupt("combine", phase, combined)
        return {"dispatch": dispatched, "combine": self.reference.check_combine(combined)}

    def _dispatch(self) -> StandardReceived:
        self._received = self._exchange.dispatch(self._payload, self.topk_idx, self.topk_weights)
        return self._received

    def _combine(self) -> torch.Tensor:
        if self._received is None:
            raise RuntimeError("combine before any dispatch")
        return self._exchange.combine(self._y, self._received.handle)

    def _partial_sums(self, received: StandardReceived) -> torch.Tensor:
        """bfloat16 [rows, hidden]: each token's experts of this rank, weighted and added."""
        local = received.topk_idx
        factors = torch.where(
            local >= 0, self.factors[local.clamp(min=0)], torch.zeros_like(received.topk_weights)
        )
        x, scales = received.payload.x, received.payload.scales
        y = torch.empty(x.shape, dtype=torch.bfloat16, device=self.device)
        rows = torch.arange(x.size(0), device=self.device)
        run_experts(
            x, torch.empty(0) if scales is None else scales, rows, (factors * received.topk_weights).sum(1), y
        )
        return y
