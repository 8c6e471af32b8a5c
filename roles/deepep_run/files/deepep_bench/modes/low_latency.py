"""Low-latency mode: dispatch once per selected expert into its slots, combine weighs the results."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Callable

import torch

from ..backends.base import Backend, Inputs, LowLatencyReceived, OwnTests
from ..config import Config
from ..faults import Faults
from ..graphs import CapturedCalls
from ..low_latency_test import LowLatencyInputs, check_low_latency, low_latency_inputs
from ..reference import Checked
from ..world import World
from .base import Measurement, Mode, other_signs, run_experts, spoil

CALLS_PER_GRAPH = 10  # even, since the calls take two buffers in turn


class LowLatencyMode(Mode):
    def __init__(self, config: Config, world: World, backend: Backend, faults: Faults) -> None:
        super().__init__(config, world, backend, faults)
        self._timing = backend.device_of_rank.timing
        self._synchronize = backend.device_of_rank.synchronize
        self._exchange = backend.low_latency()
        self._received: Any = None
        self._for_y: Any = None
        slots = (config.num_experts // world.size, config.tokens * world.size)
        self._y = torch.empty((*slots, config.hidden_size), dtype=torch.bfloat16, device=self.device)
        self._graphs: dict[str, CapturedCalls] = {}
        self._turn = 0

    def measurements(self) -> list[Measurement]:
        calls = {"dispatch": self._dispatch, "combine": self._combine, "both": self._both}
        found = []
        for name, call in calls.items():
            kernels, graph = self._exchange.kernels.get(name, {}), self._graphs.get(name)
            if graph is None:
                found.append(Measurement(name, None, self._timing, call, kernels=kernels))
                continue
            found.append(
                Measurement(name, None, "graph", graph.replay, graph.calls, self._take_turn, kernels=kernels)
            )
            eager = Measurement(
                name, "eager", self._timing, call, hide_host=False, primary=False, kernels=kernels
            )
            found.append(eager)
        return found

    def check(self, phase: str) -> dict[str, Checked]:
        # first, since it leaves constants in y: the checks after it fill y as the timed combine has it
        both = self._check_both(phase, self._both, faulty=True)
        found = {**self._check_calls(phase, self._dispatch, self._combine, faulty=True), "both": both}
        if self._exchange.can_split:
            self._check_calls(phase, self._dispatch_apart, self._combine_apart, faulty=False)
        if not self._exchange.can_capture:
            return found
        found.update({f"{name}/eager": checked for name, checked in found.items()})
        self._capture()
        both = self._check_both(phase, lambda: self._replay("both"), faulty=False)
        replayed = self._check_calls(
            phase, lambda: self._replay("dispatch"), lambda: self._replay("combine"), faulty=False
        )
        return {**found, **replayed, "both": both}

    def release(self) -> None:
        for graph in self._graphs.values():
            graph.reset()
        self._graphs.clear()
        self._received = self._for_y = None

    def own_tests(self, tick: Callable[[str], None]) -> OwnTests:
        if not self._exchange.has_own_tests:
            return OwnTests()
        if self.config.routing != "uniform":
            inputs = Inputs(self.x, self.topk_idx, self.topk_weights, self._for_y, self._y)
            return self._exchange.own_tests(inputs, "this run's routing", tick)
        tick("as DeepEP's own test: its tokens and routing")
        given = low_latency_inputs(self.config, self.world.rank, self.device)
        received = self._check_as_tested(given)
        tests = self._exchange.own_tests(
            Inputs(*given, received=received, y=self._y), "the test's tokens and routing", tick
        )
        self._check_as_tested(given)
        # what is called next combines the experts' results for this run's tokens again
        self._run_experts(self._exchange.readable(self._for_y), self.factors)
        return tests

    def _check_as_tested(self, given: LowLatencyInputs) -> Any:
        """The calls of DeepEP's own test, whole and apart, on its tokens, as it checks them; returns what was
        dispatched last. Leaves the experts' results for those tokens in ``y``.

        :raises WrongDataError: a sum is not what it should be
        """
        exchange, experts = self._exchange, torch.ones_like(self.factors)
        received = None

        def dispatch() -> Any:
            return exchange.dispatch(given.x, given.topk_idx)

        def dispatch_apart() -> Any:
            sent, receive = exchange.send_dispatch(given.x, given.topk_idx)
            receive()
            return sent

        def combine() -> torch.Tensor:
            return exchange.combine(self._y, given.topk_idx, given.topk_weights, received)

        def combine_apart() -> torch.Tensor:
            sent, receive = exchange.send_combine(self._y, given.topk_idx, given.topk_weights, received)
            receive()
            return sent

        apart = [(dispatch_apart, combine_apart)] if exchange.can_split else []
        for dispatched, combined in (*apart, (dispatch, combine)):
            received = self._afresh(dispatched, given.x)
            self._y.fill_(math.nan)
            self._run_experts(exchange.readable(received), experts)
            check_low_latency(self.config, self.world.rank, given, self._afresh(combined, self._y))
        return received

    def _check_calls(
        self, phase: str, dispatch: Callable[[], Any], combine: Callable[[], Any], faulty: bool
    ) -> dict[str, Checked]:
        self._received = self._for_y = self._afresh(dispatch, self.x)
        received = self._exchange.readable(self._received)
        if faulty:
            first_filled = next((e for e, count in enumerate(received.per_expert) if count), 0)
            slots = received.payload.x.size(1)
            self.faults.corrupt("dispatch", phase, received.payload.x.flatten(0, 1), first_filled * slots)
        dispatched = self.reference.check_low_latency_dispatch(received)
        self._run_experts(received, self.factors)
        combined = self._afresh(combine, self._y)
        if faulty:
            self.faults.corrupt("combine", phase, combined)
        return {"dispatch": dispatched, "combine": self.reference.check_combine(combined)}

    def _check_both(self, phase: str, both: Callable[[], Any], faulty: bool) -> Checked:
        """A combine right after a dispatch whose slots nobody knew before: what the experts give back is one
        row per expert then, in all slots."""
        self.reference.fill_with_constants(self._y)
        received, combined = self._afresh(both, self.x, self._y)
        dispatched = self.reference.check_low_latency_dispatch(self._exchange.readable(received))
        if faulty:
            self.faults.corrupt("both", phase, combined)
        checked = self.reference.check_constant_combine("both", combined)
        return replace(checked, elements=dispatched.elements + checked.elements)

    def _afresh(self, call: Callable[[], Any], *sent: torch.Tensor) -> Any:
        """What ``call`` brings after it brought other data: twice, since calls take two buffers in turn."""
        with other_signs(*sent):
            for _ in range(2):
                self._spoil(call())
        return call()

    def _spoil(self, brought: Any) -> None:
        """What a dispatch, a combine or both have brought."""
        if isinstance(brought, torch.Tensor):
            spoil(brought)
            return
        received, *combined = brought if isinstance(brought, tuple) else (brought,)
        payload = self._exchange.readable(received).payload
        spoil(payload.x, payload.scales, *combined)

    # ---- eager calls

    def _dispatch(self) -> Any:
        self._received = self._exchange.dispatch(self.x, self.topk_idx)
        return self._received

    def _combine(self) -> torch.Tensor:
        if self._for_y is None:
            raise RuntimeError("combine before any check")
        return self._exchange.combine(self._y, self.topk_idx, self.topk_weights, self._for_y)

    def _both(self) -> tuple[Any, torch.Tensor]:
        received = self._exchange.dispatch(self.x, self.topk_idx)
        return received, self._exchange.combine(self._y, self.topk_idx, self.topk_weights, received)

    def _dispatch_apart(self) -> Any:
        received, receive = self._exchange.send_dispatch(self.x, self.topk_idx)
        receive()
        return received

    def _combine_apart(self) -> torch.Tensor:
        combined, receive = self._exchange.send_combine(
            self._y, self.topk_idx, self.topk_weights, self._for_y
        )
        receive()
        return combined

    # ---- captured calls

    def _capture(self) -> None:
        """Once. The combine in the graph belongs to the last dispatch of the dispatch graph."""
        if self._graphs:
            return
        self._turn = self._exchange.turn
        self._graphs["dispatch"] = CapturedCalls(self._dispatch, CALLS_PER_GRAPH)
        self._for_y = self._graphs["dispatch"].result
        self._graphs["combine"] = CapturedCalls(self._combine, CALLS_PER_GRAPH)
        self._graphs["both"] = CapturedCalls(self._both, CALLS_PER_GRAPH // 2)

    def _take_turn(self) -> None:
        """A graph begins with the buffer that it was captured with; one more eager call gets there."""
        if self._exchange.turn != self._turn:
            self._exchange.dispatch(self.x, self.topk_idx)
            self._synchronize()

    def _replay(self, name: str) -> Any:
        self._take_turn()
        self._graphs[name].replay()
        self._synchronize()
        return self._graphs[name].result

    def _run_experts(self, received: LowLatencyReceived, factors: torch.Tensor) -> None:
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
            factors.repeat_interleave(counts),
            self._y.view(-1, self._y.size(2)),
        )
