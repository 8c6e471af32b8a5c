"""The reference: accepts what is right and names what is wrong, in whatever order tokens come."""

import unittest
from dataclasses import replace

import torch
from deepep_bench.backends.base import LowLatencyReceived, Payload, StandardReceived
from deepep_bench.errors import WrongDataError
from deepep_bench.quantize import dequantize, quantize
from deepep_bench.reference import Reference, bias_tolerance, combine_tolerance
from deepep_bench.tokens import TokenPool, expert_factors
from worlds import config, world

CPU = torch.device("cpu")


def make(rank: int = 1, **changes):
    given = config(**changes)
    pool = TokenPool(given, CPU)
    return given, pool, Reference(given, world(rank), pool, CPU)


def standard(given, pool, reference, rank: int = 1) -> StandardReceived:
    """What rank ``rank`` must receive, by a loop over all tokens."""
    ids, idx, weights = [], [], []
    for source, routing in enumerate(reference.routings):
        for token in range(given.tokens):
            experts = routing.topk_idx[token].tolist()
            if any(e // 4 == rank for e in experts):
                ids.append(source * given.tokens + token)
                idx.append([e - rank * 4 if e // 4 == rank else -1 for e in experts])
                values = routing.topk_weights[token].tolist()
                weights.append([w if e // 4 == rank else 0.0 for e, w in zip(experts, values, strict=True)])
    x = pool.rows(torch.tensor(ids))
    payload = Payload(*quantize(x, given.round_scale, given.use_ue8m0)) if given.fp8 else Payload(x)
    flat = [e for row in idx for e in row]
    return StandardReceived(
        payload,
        torch.tensor(idx),
        torch.tensor(weights),
        [flat.count(e) for e in range(4)],
        None,
        torch.tensor(ids),
    )


def low_latency(given, pool, reference, rank: int = 1) -> LowLatencyReceived:
    slots = 4 * given.tokens
    source = torch.full((4, slots), -1)
    counts = []
    for local in range(4):
        ids = [
            s * given.tokens + t
            for s, routing in enumerate(reference.routings)
            for t in range(given.tokens)
            if rank * 4 + local in routing.topk_idx[t].tolist()
        ]
        source[local, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
        counts.append(len(ids))
    x = pool.rows(source.flatten().clamp(min=0))
    payload = Payload(*quantize(x, given.round_scale, given.use_ue8m0)) if given.fp8 else Payload(x)
    scales = None if payload.scales is None else payload.scales.view(4, slots, -1)
    return LowLatencyReceived(Payload(payload.x.view(4, slots, -1), scales), counts, None, source)


TYPES = (
    {},
    {"data_type": "fp8"},
    {"data_type": "fp8", "round_scale": True},
    {"data_type": "fp8", "round_scale": True, "use_ue8m0": True},
)


def logfmt(y: torch.Tensor) -> torch.Tensor:
    """There and back: 9 bits of the logarithm between the smallest and the largest magnitude of 128 channels,
    at most 32 binades apart, rounded to the nearer neighbour as DeepEP's combine does."""
    blocks = y.view(y.size(0), -1, 128)
    logs = blocks.abs().log2()
    high = logs.amax(2, keepdim=True)
    low = logs.amin(2, keepdim=True).maximum(high - 32)
    step = (high - low) / 510
    nearer = 2 - ((1 + torch.exp2(step)) / 2).log2() / step
    code = ((logs - low) / step + nearer).clamp(min=0).floor()
    value = torch.where(code == 0, torch.zeros_like(code), torch.exp2((code - 1) * step + low))
    return (value * blocks.sign()).view(y.shape)


class StandardDispatch(unittest.TestCase):
    def test_accepts_what_is_right(self) -> None:
        for changes in TYPES:
            given, pool, reference = make(**changes)
            received = standard(given, pool, reference)
            checked = reference.check_standard_dispatch(replace(received, source=None))
            self.assertGreater(checked.elements, received.payload.x.numel())
            self.assertLessEqual(checked.max_rel_error, checked.tolerance)
            self.assertLess(checked.tolerance, 0.0626 if given.fp8 else 1e-9)

    def test_accepts_any_order_with_sources(self) -> None:
        given, pool, reference = make(data_type="fp8")
        good = standard(given, pool, reference)
        order = torch.randperm(good.topk_idx.size(0), generator=torch.Generator().manual_seed(0))
        x = good.payload.x.view(torch.uint8)[order].view(torch.float8_e4m3fn)
        shuffled = StandardReceived(
            Payload(x, good.payload.scales[order]),
            good.topk_idx[order], good.topk_weights[order], good.per_expert, None, good.source[order],
        )  # fmt: skip
        reference.check_standard_dispatch(shuffled)
        with self.assertRaises(WrongDataError):
            reference.check_standard_dispatch(replace(shuffled, source=None))

    def test_names_a_wrong_element(self) -> None:
        for changes in TYPES:
            given, pool, reference = make(**changes)
            received = standard(given, pool, reference)
            received.payload.x.view(torch.uint8)[5, 100 * received.payload.x.element_size()] ^= 1
            source, token = divmod(int(received.source[5]), given.tokens)
            place = f"at rank 1: token {token} of rank {source}, expert [4-7], channel 100: expected .*, got "
            with self.assertRaisesRegex(WrongDataError, place):
                reference.check_standard_dispatch(received)

    def test_nan_is_wrong(self) -> None:
        for changes in TYPES[:2]:
            given, pool, reference = make(**changes)
            received = standard(given, pool, reference)
            bytes_of = received.payload.x.view(torch.uint8)
            bytes_of[2, : 2 * received.payload.x.element_size()] = 0x7F if given.fp8 else 0xFF
            with self.assertRaises(WrongDataError):
                reference.check_standard_dispatch(received)

    def test_names_wrong_scale_weight_expert_and_count(self) -> None:
        given, pool, reference = make(data_type="fp8")

        def scale(received: StandardReceived) -> StandardReceived:
            received.payload.scales[3, 1] *= 1.00001
            return received

        def weight(received: StandardReceived) -> StandardReceived:
            received.topk_weights[3, 2] += 1e-7
            return received

        def expert(received: StandardReceived) -> StandardReceived:
            received.topk_idx[3, 0] = 3 - received.topk_idx[3, 0]
            return received

        def count(received: StandardReceived) -> StandardReceived:
            received.per_expert[2] += 1
            return received

        def missing(received: StandardReceived) -> StandardReceived:
            payload = Payload(received.payload.x[:-1], received.payload.scales[:-1])
            return replace(
                received, payload=payload, topk_idx=received.topk_idx[:-1], source=received.source[:-1]
            )

        for spoil, text in (
            (scale, "channel 128"),
            (weight, "top-k position 2: weight"),
            (expert, "top-k position 0: local expert"),
            (count, "expert 6: .* tokens counted"),
            (missing, "received .* tokens, expected"),
        ):
            with self.subTest(text), self.assertRaisesRegex(WrongDataError, text):
                reference.check_standard_dispatch(spoil(standard(given, pool, reference)))


class LowLatencyDispatch(unittest.TestCase):
    def test_accepts_what_is_right_and_ignores_empty_slots(self) -> None:
        for changes in TYPES:
            given, pool, reference = make(mode="low_latency", **changes)
            received = low_latency(given, pool, reference)
            for expert, count in enumerate(received.per_expert):
                received.payload.x.view(torch.uint8)[expert, count:] = 0xFF
            reference.check_low_latency_dispatch(replace(received, source=None))

    def test_accepts_any_order_with_sources(self) -> None:
        given, pool, reference = make(mode="low_latency")
        received = low_latency(given, pool, reference)
        received.payload.x[2, [0, 1]] = received.payload.x[2, [1, 0]]
        received.source[2, [0, 1]] = received.source[2, [1, 0]]
        reference.check_low_latency_dispatch(received)
        with self.assertRaises(WrongDataError):
            reference.check_low_latency_dispatch(replace(received, source=None))

    def test_names_a_wrong_element(self) -> None:
        for changes in TYPES:
            given, pool, reference = make(mode="low_latency", **changes)
            received = low_latency(given, pool, reference)
            received.payload.x.view(torch.uint8)[3, 0, 7 * received.payload.x.element_size()] ^= 1
            with self.assertRaisesRegex(WrongDataError, "expert 7, channel 7"):
                reference.check_low_latency_dispatch(received)


class Combine(unittest.TestCase):
    def combined(self, given, pool, reference, rank: int = 1, factor: float = 1.0) -> torch.Tensor:
        """As a backend does it: e4m3 on the way out, bfloat16 per expert, LogFMT on the way back, one sum,
        bfloat16. factor: by what all sums are wrong."""
        routing = reference.routings[rank]
        x = pool.rows(torch.arange(rank * given.tokens, (rank + 1) * given.tokens))
        x = dequantize(*quantize(x, given.round_scale, given.use_ue8m0)) if given.fp8 else x.float()
        factors = expert_factors(given, CPU)
        total = torch.zeros_like(x)
        for k in range(given.num_topk):
            y = (x * factors[routing.topk_idx[:, k]].unsqueeze(1)).to(torch.bfloat16).float()
            y = logfmt(y) if given.use_logfmt else y
            total += y * routing.topk_weights[:, k].unsqueeze(1)
        return (total * factor).to(torch.bfloat16)

    def test_a_bias_of_one_percent_shows_through_every_quantisation(self) -> None:
        for changes in TYPES:
            for more in ({}, {"mode": "low_latency", "use_logfmt": True}):
                given, pool, reference = make(hidden_size=1024, tokens=48, **changes, **more)
                checked = reference.check_combine(self.combined(given, pool, reference))
                self.assertLess(checked.bias, bias_tolerance(checked.elements) / 2)
                for factor in (0.99, 1.01):
                    with self.assertRaisesRegex(WrongDataError, "after combine at rank 1: "):
                        reference.check_combine(self.combined(given, pool, reference, factor=factor))

    def test_a_bias_within_the_bounds_of_elements_shows(self) -> None:
        given, pool, reference = make(data_type="fp8", hidden_size=1024, tokens=48)
        biased = self.combined(given, pool, reference, factor=1.01)
        with self.assertRaisesRegex(
            WrongDataError, r"all elements together are \+[01]\.\d\d% off, correct .*"
        ):
            reference.check_combine(biased)

    def test_few_elements_are_not_held_to_it(self) -> None:
        """What a single token of one expert rounds by is no bias: 300 of them, all right."""
        for changes in ({"data_type": "fp8"}, {"data_type": "fp8", "round_scale": True}):
            given, pool, reference = make(num_topk=1, tokens=300, hidden_size=128, **changes)
            combined = self.combined(given, pool, reference).float()
            alone = config(num_topk=1, tokens=300, hidden_size=128, **changes)
            routing, factors = reference.routings[1], expert_factors(alone, CPU)
            weights = routing.topk_weights * factors[routing.topk_idx]
            expected = pool.rows(torch.arange(300, 600)).float() * weights
            bias = ((combined - expected) * expected).sum(1) / (expected * expected).sum(1)
            self.assertLess(float(bias.abs().max()), bias_tolerance(128))

    def test_accepts_rounding_but_no_more(self) -> None:
        given, pool, reference = make()
        combined = self.combined(given, pool, reference)
        checked = reference.check_combine(combined)
        self.assertEqual(checked.elements, combined.numel())
        self.assertLess(checked.max_rel_error, checked.tolerance)
        self.assertGreater(checked.max_rel_error, 0.0)
        combined[7, 9] *= 1 + 2 * combine_tolerance(given)
        with self.assertRaisesRegex(
            WrongDataError, "after combine at rank 1: token 7 of rank 1, .* channel 9"
        ):
            reference.check_combine(combined)

    def test_a_swapped_expert_shows(self) -> None:
        given, pool, reference = make(num_topk=1)
        combined = self.combined(given, pool, reference).float()
        combined[0] *= (0.5 + 1 / 16) / 0.5
        with self.assertRaises(WrongDataError):
            reference.check_combine(combined.to(torch.bfloat16))

    def test_nan_and_shape(self) -> None:
        given, pool, reference = make()
        combined = self.combined(given, pool, reference)
        with self.assertRaisesRegex(WrongDataError, "shape"):
            reference.check_combine(combined[:-1])
        combined[0, 0] = float("nan")
        with self.assertRaisesRegex(WrongDataError, "got nan"):
            reference.check_combine(combined)


if __name__ == "__main__":
    unittest.main()
