"""Low-latency mode: dispatch once per selected expert into its slots, combine weighs the results."""

from __future__ import annotations

from typing import Callable

import torch

from ..backends.base import Backend, LowLatencyReceived
from ..config import Config
from ..faults import Faults
from ..reference import Checked
from ..world import World
from .base import Mode, run_experts


class LowLatencyMode(Mode):
    def __init__(self, config: Config, world: World, backend: Backend, faults: Faults) -> None:
        super().__init__(config, world, backend, faults)
        self._exchange = backend.low_latency()
        self._received: LowLatencyReceived | None = None
        slots = (config.num_experts // world.size, config.tokens * world.size)
        self._y = torch.empty((*slots, config.hidden_size), dtype=torch.bfloat16, device=self.device)

    def operations(self) -> dict[str, Callable[[], object]]:
        return {"dispatch": self._dispatch, "combine": self._combine, "both": self._both}

    def check(self, phase: str) -> dict[str, Checked]:
        received = self._dispatch()
        first_filled = next((e for e, count in enumerate(received.per_expert) if count), 0)
        slots = received.payload.x.size(1)
        self.faults.corrupt("dispatch", phase, received.payload.x.flatten(0, 1), first_filled * slots)
        dispatched = self.reference.check_low_latency_dispatch(received)
        self._run_experts(received)
        combined = self._combine()
        self.faults.corrupt("combine", phase, combined)
        combine = self.reference.check_combine(combined)
        both = Checked(
            dispatched.elements + combine.elements,
            combine.max_abs_error,
            combine.max_rel_error,
            combine.tolerance,
        )
        return {"dispatch": dispatched, "combine": combine, "both": both}

    def _dispatch(self) -> LowLatencyReceived:
        self._received = self._exchange.dispatch(self.x, self.topk_idx)
        return self._received

    def _combine(self) -> torch.Tensor:
        if self._received is None:
            raise RuntimeError("combine before any dispatch")
        return self._exchange.combine(self._y, self.topk_idx, self.topk_weights, self._received.handle)

    def _both(self) -> torch.Tensor:
        self._dispatch()
        return self._combine()

    def _run_experts(self, received: LowLatencyReceived) -> None:
        counts = torch.tensor(received.per_expert, device=self.device)
        first_row = counts.cumsum(0) - counts
        slots = received.payload.x.size(1)
        first_slot = torch.arange(counts.numel(), device=self.device) * slots
        rows = torch.arange(int(counts.sum()), device=self.device)
        rows = rows + (first_slot - first_row).repeat_interleave(counts)
        scales = received.payload.scales
        run_experts(
            received.payload.x.flatten(0, 1),
            torch.empty(0) if scales is None else scales.flatten(0, 1),
            rows,
            self.factors.repeat_interleave(counts),
            self._y.view(-1, self._y.size(2)),
        )
