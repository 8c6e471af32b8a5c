"""The checks of low-latency mode: each operation that is timed is checked as it is called, graphs too."""

import unittest
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from deepep_bench.backends.base import LowLatencyExchange, LowLatencyReceived, Payload
from deepep_bench.errors import WrongDataError
from deepep_bench.faults import Faults
from deepep_bench.modes import low_latency
from worlds import config, world


class Exchange(LowLatencyExchange):
    """One rank that keeps its tokens. Each dispatch fills the slots of an expert in another order."""

    def __init__(self, can_capture: bool, spoils: Callable[["Exchange"], bool]) -> None:
        self.can_capture = can_capture
        self.capturing = False
        self.calls: list[str] = []
        self._spoils = spoils
        self._random = torch.Generator().manual_seed(0)

    def dispatch(self, x: torch.Tensor, topk_idx: torch.Tensor) -> Any:
        self.calls.append("dispatch")
        experts, slots = 16, x.size(0)
        out = torch.full((experts, slots, x.size(1)), float("nan"), dtype=torch.bfloat16)
        source, counts = torch.full((experts, slots), -1), []
        for expert in range(experts):
            hits = (topk_idx == expert).any(dim=1).nonzero().flatten()
            hits = hits[torch.randperm(hits.numel(), generator=self._random)]
            out[expert, : hits.numel()], source[expert, : hits.numel()] = x[hits], hits
            counts.append(hits.numel())
        return LowLatencyReceived(Payload(out), counts, None, source)

    def combine(
        self, y: torch.Tensor, topk_idx: torch.Tensor, topk_weights: torch.Tensor, received: Any
    ) -> torch.Tensor:
        self.calls.append("combine")
        out = torch.zeros((topk_idx.size(0), y.size(2)))
        for expert, count in enumerate(received.per_expert):
            for slot, token in enumerate(received.source[expert, :count].tolist()):
                out[token] += topk_weights[token][topk_idx[token] == expert].sum() * y[expert, slot].float()
        if self._spoils(self):
            out[3] *= 1.1
        return out.to(torch.bfloat16)


class Lazy(Exchange):
    """After some calls one operation gives the same memory as before, and moves nothing into it."""

    def __init__(self, operation: str, after: int) -> None:
        super().__init__(False, lambda _: False)
        self._lazy, self._after = operation, after
        self._kept: dict[str, Any] = {}

    def dispatch(self, *args: Any) -> Any:
        return self._again("dispatch", super().dispatch, args)

    def combine(self, *args: Any) -> torch.Tensor:
        found: torch.Tensor = self._again("combine", super().combine, args)
        return found

    def _again(self, name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if name != self._lazy or self.calls.count(name) < self._after:
            self._kept[name] = call(*args)
        return self._kept[name]


class Replayed:
    """As graphs.CapturedCalls, by calling again."""

    def __init__(self, call: Callable[[], object], calls: int) -> None:
        self.calls, self.result, self._call = calls, None, call

    def replay(self) -> None:
        for _ in range(self.calls):
            self.result = self._call()


def mode_with(exchange: Exchange) -> low_latency.LowLatencyMode:
    device = SimpleNamespace(timing="wall", synchronize=lambda: None)
    backend: Any = SimpleNamespace(
        device=torch.device("cpu"), device_of_rank=device, low_latency=lambda: exchange
    )
    alone = world(size=1, local_size=1)
    return low_latency.LowLatencyMode(config(mode="low_latency"), alone, backend, Faults(0, {}))


class Both(unittest.TestCase):
    def setUp(self) -> None:
        patched = mock.patch.object(low_latency, "CapturedCalls", Replayed)
        patched.start()
        self.addCleanup(patched.stop)

    def test_right_data_pass_though_slots_change(self) -> None:
        for can_capture in (False, True):
            mode = mode_with(Exchange(can_capture, lambda _: False))
            for phase in ("check_before", "check_after"):
                found = mode.check(phase)
                names = {"dispatch", "combine", "both"}
                self.assertEqual(
                    set(found), names | ({f"{name}/eager" for name in names} if can_capture else set())
                )
                elements = {name: checked.elements for name, checked in found.items()}
                self.assertGreater(elements["both"], elements["combine"])
            self.assertEqual({each.name for each in mode.measurements()}, set(found))

    def test_a_wrong_combine_of_both_shows_eager_and_in_a_graph(self) -> None:
        # the third combine is that of the eager both that is checked; only a replayed one follows five pairs
        for can_capture, spoils in (
            (False, lambda exchange: exchange.calls.count("combine") == 3),
            (True, lambda exchange: exchange.calls[-12:] == ["dispatch", "combine"] * 6),
        ):
            with self.assertRaisesRegex(WrongDataError, "wrong data after both at rank 0: token 3 of rank 0"):
                mode_with(Exchange(can_capture, spoils)).check("check_before")

    def test_a_call_that_moves_nothing_shows(self) -> None:
        """Its memory and buffers still hold what earlier calls brought: everything right, were it not for the
        other data that is moved, and the spoiling, before each call that is checked."""
        for lazy in ("dispatch", "combine"):
            with self.assertRaisesRegex(WrongDataError, f"after ({lazy}|both) at rank 0"):
                mode = mode_with(Lazy(lazy, after=8))
                mode.check("check_before")
                mode.check("check_after")

    def test_the_timed_combine_keeps_the_experts_results(self) -> None:
        mode = mode_with(Exchange(True, lambda _: False))
        mode.check("check_before")
        [combine] = [each for each in mode.measurements() if each.name == "combine/eager"]
        mode.reference.check_combine(combine.call())

    def test_so_it_does_after_own_tests_which_have_other_tokens(self) -> None:
        """Kernels of the timed calls are profiled then."""
        exchange = Exchange(True, lambda _: False)
        exchange.has_own_tests = True
        mode = mode_with(exchange)
        mode.check("check_before")
        with mock.patch.object(exchange, "own_tests", create=True) as own:
            mode.own_tests(lambda _: None)
        own.assert_called_once()
        measurements = {each.name: each for each in mode.measurements()}
        mode.reference.check_combine(measurements["combine/eager"].call())


if __name__ == "__main__":
    unittest.main()
