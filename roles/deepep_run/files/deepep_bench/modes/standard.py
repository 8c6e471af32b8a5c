"""Standard mode: dispatch once per destination rank, experts' weighted partial sums, combine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable

import torch

from ..backends.base import Backend, Inputs, OwnTests, Payload, StandardReceived
from ..config import Config
from ..faults import Faults
from ..quantize import quantize
from ..reference import Checked
from ..tuning import Tuned
from ..world import World
from .base import Measurement, Mode, other_signs, run_experts, spoil


class StandardMode(Mode):
    def __init__(self, config: Config, world: World, backend: Backend, faults: Faults) -> None:
        super().__init__(config, world, backend, faults)
        self._timing = backend.device_of_rank.timing
        self._exchange = backend.standard()
        # as in DeepEP: the caller quantises before a standard dispatch
        self.payload = (
            Payload(*quantize(self.x, config.round_scale, config.use_ue8m0))
            if config.fp8
            else Payload(self.x)
        )
        self._prepared = self._exchange.prepare(self.payload)
        self._received: Any = None
        self._y = torch.empty(0)
        self._for_y: Any = None

    @property
    def compiles(self) -> bool:
        return self._exchange.compiles

    def warm_up(self, tick: Callable[[str], None]) -> None:
        self._exchange.warm_up(self._prepared, self.topk_idx, self.topk_weights, tick)

    def measurements(self) -> list[Measurement]:
        known, timing = self._exchange.kernels, self._timing
        dispatch, combine = known.get("dispatch", {}), known.get("combine", {})
        found = [Measurement("dispatch", "counts", timing, self._dispatch, kernels=dispatch)]
        if self._exchange.can_repeat:
            found.append(
                Measurement("dispatch", "cached", timing, self._repeat, primary=False, kernels=dispatch)
            )
        return [*found, Measurement("combine", None, timing, self._combine, kernels=combine)]

    def check(self, phase: str) -> dict[str, Checked]:
        other = self._other_tokens()
        self._spoil(self._exchange.dispatch(other, self.topk_idx, self.topk_weights))
        received = self._exchange.readable(self._dispatch())
        self.faults.corrupt("dispatch", phase, received.payload.x)
        found = {"dispatch": self.reference.check_standard_dispatch(received)}
        self._y, self._for_y = self.partial_sums(received), self._received
        if self._exchange.can_repeat:
            self._spoil(self._exchange.repeat(other, self._received))
            again = self._exchange.readable(self._exchange.repeat(self._prepared, self._received))
            # routing and counts do not travel again
            whole = replace(received, payload=again.payload, source=again.source)
            found["dispatch/cached"] = self.reference.check_standard_dispatch(whole)
        with other_signs(self._y):
            spoil(self._combine())
        combined = self._combine()
        self.faults.corrupt("combine", phase, combined)
        found["combine"] = self.reference.check_combine(combined)
        return found

    def own_tests(self, tick: Callable[[str], None]) -> OwnTests:
        self._check_in_test_order()
        tests = self._exchange.own_tests(self._inputs(), tick)
        self._check_in_test_order()
        return tests

    def tune(self, tick: Callable[[str], None]) -> Tuned | None:
        return self._exchange.tune(self._inputs(), tick)

    def _check_in_test_order(self) -> None:
        """Where DeepEP's own test has a token's experts in another order: what it measures, checked."""
        exchange = self._exchange
        order = exchange.test_order(self.topk_idx)
        if order is None:
            return
        reference = self.reference.reordered(exchange.test_order)
        idx, weights = self.topk_idx.gather(1, order), self.topk_weights.gather(1, order)
        other = self._other_tokens()
        self._spoil(exchange.dispatch(other, idx, weights))
        dispatched = exchange.dispatch(self._prepared, idx, weights)
        received = exchange.readable(dispatched)
        reference.check_standard_dispatch(received)
        self._spoil(exchange.repeat(other, dispatched))
        again = exchange.readable(exchange.repeat(self._prepared, dispatched))
        reference.check_standard_dispatch(replace(received, payload=again.payload, source=again.source))

    def _other_tokens(self) -> Any:
        with other_signs(self.payload.x):
            return self._exchange.prepare(Payload(self.payload.x.clone(), self.payload.scales))

    def _spoil(self, received: Any) -> None:
        payload = self._exchange.readable(received).payload
        spoil(payload.x, payload.scales)

    def _inputs(self) -> Inputs:
        return Inputs(self._prepared, self.topk_idx, self.topk_weights, self._for_y, self._y)

    def _dispatch(self) -> Any:
        self._received = self._exchange.dispatch(self._prepared, self.topk_idx, self.topk_weights)
        return self._received

    def _repeat(self) -> Any:
        return self._exchange.repeat(self._prepared, self._received)

    def _combine(self) -> torch.Tensor:
        if self._for_y is None:
            raise RuntimeError("combine before any check")
        # with the dispatch that y was made for: another one's rows may come in another order
        return self._exchange.combine(self._y, self._for_y)

    def partial_sums(self, received: StandardReceived) -> torch.Tensor:
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
