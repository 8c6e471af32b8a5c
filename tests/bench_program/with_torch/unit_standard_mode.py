"""The checks of standard mode: none passes on what an earlier call left."""

import unittest
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from deepep_bench.backends.base import Inputs, OwnTests, Payload, StandardExchange, StandardReceived
from deepep_bench.errors import WrongDataError
from deepep_bench.faults import Faults
from deepep_bench.modes.standard import StandardMode
from worlds import config, world


class Exchange(StandardExchange):
    """One rank that keeps its tokens; an operation may give the same memory as before after some calls, and
    move nothing into it. Its own test has experts in another order."""

    can_repeat = True

    def __init__(self, lazy: str = "", after: int = 0) -> None:
        self._lazy, self._after = lazy, after
        self._calls = {"dispatch": 0, "repeat": 0, "combine": 0}
        self._kept: dict[str, Any] = {}
        self.tested = 0

    def _brought(self, name: str, fresh: Any) -> Any:
        self._calls[name] += 1
        if name != self._lazy or self._calls[name] <= self._after:
            self._kept[name] = fresh
        return self._kept[name]

    def dispatch(self, x: Payload, topk_idx: torch.Tensor, topk_weights: torch.Tensor) -> StandardReceived:
        counts = [int((topk_idx == expert).sum()) for expert in range(16)]
        payload = self._brought("dispatch", Payload(x.x.clone()))
        return StandardReceived(payload, topk_idx.clone(), topk_weights.clone(), counts, None)

    def repeat(self, x: Payload, received: StandardReceived) -> StandardReceived:
        return replace(received, payload=self._brought("repeat", Payload(x.x.clone())))

    def combine(self, y: torch.Tensor, received: StandardReceived) -> torch.Tensor:
        found: torch.Tensor = self._brought("combine", y.clone())
        return found

    def test_order(self, topk_idx: torch.Tensor) -> torch.Tensor:
        return topk_idx.argsort(dim=1)

    def own_tests(self, inputs: Inputs, tick: Any) -> OwnTests:
        self.tested += 1
        return OwnTests()


def mode_with(exchange: Exchange) -> StandardMode:
    device = SimpleNamespace(timing="wall")
    backend: Any = SimpleNamespace(
        device=torch.device("cpu"), device_of_rank=device, standard=lambda: exchange
    )
    return StandardMode(config(), world(size=1, local_size=1), backend, Faults(0, {}))


class Checks(unittest.TestCase):
    def test_right_data_pass(self) -> None:
        exchange = Exchange()
        mode = mode_with(exchange)
        before = mode.check("check_before")
        mode.own_tests(lambda _: None)
        self.assertEqual(set(mode.check("check_after")), set(before))
        self.assertEqual(exchange.tested, 1)

    def test_a_call_that_moves_nothing_shows(self) -> None:
        for lazy in ("dispatch", "repeat", "combine"):
            for after in (1, 2):
                with self.subTest(lazy=lazy, after=after), self.assertRaises(WrongDataError):
                    mode = mode_with(Exchange(lazy, after))
                    mode.check("check_before")
                    mode.check("check_after")

    def test_what_own_tests_call_is_checked_as_well(self) -> None:
        for lazy in ("dispatch", "repeat"):
            mode = mode_with(Exchange(lazy, after=3))
            mode.check("check_before")
            with self.subTest(lazy=lazy), self.assertRaises(WrongDataError):
                mode.own_tests(lambda _: None)


if __name__ == "__main__":
    unittest.main()
