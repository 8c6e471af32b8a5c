"""As DeepEP's own tests measure, in their order of flushes, barriers and calls; and kernels of the run's own
calls."""

import unittest
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from deepep_bench.backends import deepep_v1, deepep_v2
from deepep_bench.backends.base import Inputs, OwnTest, OwnTests
from deepep_bench.backends.deepep_base import Indices
from deepep_bench.device import CpuDevice, CudaDevice
from deepep_bench.kernels import KernelTimes, of_slowest, profile
from deepep_bench.modes.base import Measurement
from deepep_bench.own_test import PROFILED_CALLS, TESTS_OF_1, TESTS_OF_2, V1Tests
from deepep_bench.reference import Checked
from deepep_bench.report import Circumstances, RankReport, records
from deepep_bench.routing import route
from deepep_bench.traffic import rows_between_ranks
from worlds import config, world


class Gpu(CudaDevice):
    """Writes down what it is told; only its clock and its stream are missing."""

    def __init__(self) -> None:
        super().__init__(world(size=2, local_size=2))
        self.log: list[str] = []

    def flush(self) -> None:
        self.log.append("flush")

    def meet(self) -> None:
        self.log.append("meet")

    def stay_busy(self) -> None:
        self.log.append("busy")

    def kernel_times(
        self, call: Any, kernels: Any, calls: int, before_all: Any, before_each: Any, warm: bool = True
    ) -> dict[str, list[float]]:
        self.log.append("warm" if warm else "cold")
        before_all()
        for _ in range(calls):
            before_each()
            call()
        return {}


class Event:
    def __init__(self, log: list[str]) -> None:
        self._log = log

    def record(self) -> None:
        self._log.append("event")

    def elapsed_time(self, end: "Event") -> float:
        return 1.0


class Methods(unittest.TestCase):
    def setUp(self) -> None:
        self.device = Gpu()
        for name, value in (
            ("Event", lambda enable_timing: Event(self.device.log)),
            ("synchronize", lambda: None),
            ("_sleep", lambda cycles: self.device.log.append(f"sleep {cycles}")),
        ):
            patched = mock.patch.object(torch.cuda, name, value)
            patched.start()
            self.addCleanup(patched.stop)

    def call(self) -> None:
        self.device.log.append("call")

    def test_the_tests_of_1_flush_and_meet_once(self) -> None:
        TESTS_OF_1.mean_time(self.device, self.call)
        self.assertEqual(self.device.log, ["call"] * 50 + ["flush"] + ["event", "call", "event"] * 50)
        self.device.log.clear()
        TESTS_OF_1.kernels_met(self.device, self.call, {})
        self.assertEqual(self.device.log, ["cold", "busy", "meet"] + ["call"] * 30)
        self.device.log.clear()
        TESTS_OF_1.kernels_unmet(self.device, self.call, {})
        self.assertEqual(self.device.log, ["cold"] + ["call"] * 30)

    def test_those_of_2_flush_and_meet_each_time(self) -> None:
        TESTS_OF_2.mean_time(self.device, self.call)
        self.assertEqual(self.device.log, ["call"] * 50 + ["flush", "event", "call", "event"] * 50)
        self.device.log.clear()
        TESTS_OF_2.kernels_met(self.device, self.call, {})
        self.assertEqual(self.device.log, ["warm"] + ["flush", "sleep 20000000", "meet", "call"] * 30)
        self.device.log.clear()
        TESTS_OF_2.kernels_unmet(self.device, self.call, {})
        self.assertEqual(self.device.log, ["warm"] + ["flush", "call"] * 30)


class Profiled(CpuDevice):
    """A CPU whose profiler sees ``seen[part]`` kernels per call, of 1 µs, 2 µs ... each."""

    def __init__(self, **seen: int) -> None:
        super().__init__(world(size=2, local_size=2))
        self.seen = seen
        self.calls: list[Any] = []

    def meet(self) -> None:
        return None

    def align(self, hide_host: bool = True) -> None:
        self.calls.append(("align", hide_host))

    settle = meet

    def back_to_back(self, call: Any, warmups: int, calls: int, flush_each: bool = False) -> list[float]:
        return [1e-6] * calls

    def kernel_times(
        self, call: Any, kernels: Any, calls: int, before_all: Any, before_each: Any, warm: bool = True
    ) -> dict[str, list[float]]:
        before_each()
        self.calls.append(call())
        return {
            key: [(1 + n % per_call) * 1e-6 for n in range(calls * per_call)]
            for key, part in kernels.items()
            for name, per_call in self.seen.items()
            if name in part
        }


class Buffer:
    """Takes calls of V1 and V2 and keeps their arguments."""

    def __init__(self) -> None:
        self.given: list[dict[str, Any]] = []

    def get_logical_domain_size(self) -> tuple[int, int]:
        return 1, 2

    def barrier(self) -> None:
        return None

    def dispatch(self, x: Any, **given: Any) -> tuple[Any, ...]:
        self.given.append(given)
        handle = given.get("handle") or SimpleNamespace(topk_idx=given["topk_idx"])
        return x, given.get("topk_idx"), given.get("topk_weights"), handle, None

    def combine(self, y: Any, handle: Any = None, **given: Any) -> tuple[Any, ...]:
        return y, None, None


def inputs(received: Any) -> Inputs:
    routing = route(config(), 0, 2)
    rows = torch.zeros((24, 256), dtype=torch.bfloat16)
    return Inputs(rows, routing.topk_idx, routing.topk_weights, received, rows)


def v2_tests(device: Profiled) -> tuple[OwnTests, Buffer, Inputs]:
    given, buffer = config(), Buffer()
    exchange = deepep_v2._Standard(given, world(size=2), buffer, device, torch.int64, {"num_sms": 24}, [24])
    mine = inputs(None)
    received = exchange.dispatch(mine.x, mine.topk_idx, mine.topk_weights)
    mine = inputs(received)
    return exchange.own_tests(mine, lambda text: None), buffer, mine


class V2(unittest.TestCase):
    def test_both_forms_of_dispatch_are_measured_in_the_order_of_the_test(self) -> None:
        tests, buffer, mine = v2_tests(Profiled(dispatch_impl=1, combine_impl=1, epilogue=1))
        self.assertEqual(list(tests.found), ["dispatch", "dispatch/cached", "combine"])
        self.assertFalse(tests.missing)
        self.assertIn("cached handle", tests.found["dispatch/cached"].call)
        self.assertEqual(tests.found["dispatch"].nvl_bytes, tests.found["dispatch/cached"].nvl_bytes)
        self.assertEqual(set(tests.found["combine"].parts), {"kernel", "kernel_median", "epilogue"})
        own, tested, counted, cached = buffer.given
        self.assertTrue(torch.equal(own["topk_idx"], mine.topk_idx))
        self.assertFalse(torch.equal(tested["topk_idx"], mine.topk_idx))
        self.assertTrue(torch.equal(tested["topk_idx"], counted["topk_idx"]))
        self.assertEqual(set(cached), {"handle", "num_sms"})
        self.assertIs(cached["handle"].topk_idx, tested["topk_idx"])

    def test_what_the_profiler_did_not_see_is_told(self) -> None:
        tests, _, _ = v2_tests(Profiled(dispatch_impl=2, combine_impl=1))
        self.assertEqual(list(tests.found), ["combine"])
        self.assertNotIn("epilogue", tests.found["combine"].parts)
        self.assertEqual(
            tests.missing["dispatch"],
            [
                "of 30 kernels 'dispatch_impl' the profiler saw 60",
                "of 30 kernels 'dispatch_copy_epilogue_impl' the profiler saw 0",
            ],
        )
        self.assertEqual(
            tests.missing["combine"], ["of 30 kernels 'combine_reduce_epilogue_impl' the profiler saw 0"]
        )


def v1_tests(device: Profiled, tests: V1Tests, size: int, **changes: Any) -> OwnTests:
    given = config(num_experts=32, backend="deepep_v1", **changes)
    settings: Any = SimpleNamespace(config=lambda *_: None)
    exchange = deepep_v1._Standard(
        given,
        world(size=size, local_size=8),
        Buffer(),
        device,
        settings,
        24,
        [24],
        Indices(torch.int64),
        tests,
    )
    routing = route(given, 0, size)
    rows = torch.zeros((24, 512), dtype=torch.bfloat16)
    received: Any = SimpleNamespace(handle="handle")
    return exchange.own_tests(
        Inputs(rows, routing.topk_idx, routing.topk_weights, received, rows), lambda text: None
    )


class V1(unittest.TestCase):
    def test_the_method_is_that_of_the_package(self) -> None:
        named = ((TESTS_OF_1, "as tests/ of DeepEP 1.2.1: "), (TESTS_OF_2, "as tests/legacy/ of DeepEP 2: "))
        for tests, words in named:
            one_host = v1_tests(Profiled(), tests, 8).found
            self.assertEqual(set(one_host), {"dispatch/cached", "combine"})
            several = v1_tests(Profiled(dispatch=1, combine=1, notify=3), tests, 16).found
            self.assertEqual(set(several), {"dispatch/cached", "combine"})
            for own in (*one_host.values(), *several.values()):
                self.assertIn(words, own.method)
            self.assertIn("no barrier", several["combine"].method)
            self.assertAlmostEqual(
                several["combine"].parts["notify"], 2e-6
            )  # one of several kernels of a name

    def test_kernels_of_several_hosts_are_counted(self) -> None:
        tests = v1_tests(Profiled(combine=1), TESTS_OF_2, 16)
        self.assertEqual(set(tests.found), {"combine"})
        self.assertEqual(
            tests.missing, {"dispatch/cached": ["of 30 kernels '::dispatch<' the profiler saw 0"]}
        )

    def test_scales_count_as_they_are_sent(self) -> None:
        plain, ue8m0 = (
            v1_tests(Profiled(), TESTS_OF_1, 8, data_type="fp8", round_scale=True, use_ue8m0=each).found
            for each in (False, True)
        )
        self.assertEqual(plain["dispatch/cached"].nvl_bytes, 24 * (512 + 16))
        self.assertEqual(ue8m0["dispatch/cached"].nvl_bytes, 24 * (512 + 4))


class Kernels(unittest.TestCase):
    def test_a_timed_call_is_profiled_as_it_is_timed(self) -> None:
        device = Profiled(dispatch=10)
        measured = Measurement(
            "dispatch", None, "graph", lambda: "replay", 10, lambda: device.calls.append("prepare"),
            hide_host=False, kernels={"kernel": "::dispatch<", "epilogue": "other"},
        )  # fmt: skip
        found = profile(device, measured)
        self.assertEqual(device.calls, ["prepare", ("align", False), "replay"])
        self.assertEqual(list(found.seconds), ["kernel"])
        self.assertEqual(len(found.seconds["kernel"]), PROFILED_CALLS)
        self.assertAlmostEqual(found.seconds["kernel"][3], 5.5e-6)
        self.assertEqual(found.missing, ["of 300 kernels 'other' the profiler saw 0"])

    def test_parts_are_of_one_rank(self) -> None:
        ranks = [
            KernelTimes({"kernel": [5.0, 5.0, 9.0], "epilogue": [1.0, 1.0, 1.0]}),
            KernelTimes({"kernel": [2.0, 2.0, 2.0], "epilogue": [3.0, 3.0, 3.0]}),
        ]
        self.assertEqual(of_slowest(ranks), {"kernel": 5.0, "epilogue": 1.0})
        self.assertEqual(of_slowest([ranks[0], KernelTimes({"kernel": [1.0, 9.0, 1.0]})]), {"kernel": 9.0})
        self.assertEqual(of_slowest([ranks[0], KernelTimes()]), {})


class Records(unittest.TestCase):
    def test_what_is_the_tests_and_what_is_the_runs_own(self) -> None:
        given = config(backend="deepep_v2")
        own = OwnTest("v2", "cached handle", "method", 2e-6, 4e3, None, {"kernel": 7e-6})
        measurements = [
            Measurement("dispatch", "counts", "events", lambda: None),
            Measurement("dispatch", "cached", "events", lambda: None, primary=False),
            Measurement("dispatch", "alltoall", "graph", lambda: None, 10, primary=False, baseline=True),
        ]
        names = [each.name for each in measurements]
        checks = {name: Checked(1, 0.0, 0.0, 0.0) for name in names}
        ranks = [
            RankReport(
                rank, "node0", rank, {name: [1e-5] for name in names}, checks, checks,
                OwnTests({"dispatch/cached": own}, {"dispatch": ["of 30 kernels 'x' the profiler saw 0"]}),
                {"dispatch": KernelTimes({"kernel": [3e-6 + rank * 1e-6], "epilogue": [1e-6]})},
            )
            for rank in range(2)
        ]  # fmt: skip
        routings = [route(given, rank, 2) for rank in range(2)]
        rows = rows_between_ranks(given, routings)
        about = Circumstances(given, world(size=2), "results/x", {}, [], measurements, routings, rows)
        backend: Any = SimpleNamespace(
            name="deepep_v2",
            stand_in=False,
            hierarchical=True,
            effective=lambda: {},
            nvlink_domain=lambda baseline: 2,
        )
        read = [RankReport.from_json(rank.to_json()) for rank in ranks]
        counts, cached, nccl = records(about, backend, read, lambda _: None)
        self.assertEqual((counts["kernel_time"], counts["epilogue_time"]), (4e-6, 1e-6))
        self.assertIsNone(counts["own_test"])
        self.assertIsNone(counts["simple_nvl_bw"])
        self.assertIsNone(counts["counting"])
        self.assertEqual(
            counts["notes"],
            [
                "not known: own_test, or a part of it: of 30 kernels 'x' the profiler saw 0 "
                "(on rank 0 and 1 more)"
            ],
        )
        self.assertEqual(cached["notes"], [])
        for words in ("baseline, not DeepEP", "flushed before the graph: all but its first find them warm"):
            self.assertIn(words, "".join(nccl["notes"]))
        self.assertIsNone(cached["kernel_time"])
        self.assertEqual(cached["own_test"]["parts"], {"kernel": 7e-6})
        self.assertAlmostEqual(cached["simple_nvl_bw"], 2.0)


if __name__ == "__main__":
    unittest.main()
