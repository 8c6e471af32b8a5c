"""Inputs and check of DeepEP's low-latency test; that a GPU draws its very numbers, only a GPU can tell."""

import unittest
from typing import Any

import torch
from deepep_bench.config import Config
from deepep_bench.errors import WrongDataError
from deepep_bench.low_latency_test import check_low_latency, low_latency_inputs

CPU = torch.device("cpu")


def config(**given: Any) -> Config:
    sizes = {"tokens": 128, "num_experts": 64, "num_topk": 8, "hidden_size": 1024}
    return Config(
        **{
            **sizes,
            "data_type": "bfloat16",
            "mode": "low_latency",
            "backend": "deepep_v1",
            "num_warmups": 1,
            "num_iterations": 1,
            **given,
        }
    )


class Inputs(unittest.TestCase):
    def test_each_rank_has_its_own_and_always_the_same(self) -> None:
        first, again, other = (low_latency_inputs(config(), rank, CPU) for rank in (0, 0, 1))
        self.assertTrue(all(torch.equal(one, two) for one, two in zip(first, again, strict=True)))
        self.assertFalse(torch.equal(first.topk_idx, other.topk_idx))

    def test_ten_selections_are_masked(self) -> None:
        given = low_latency_inputs(config(), 0, CPU)
        masked = int((given.topk_idx < 0).sum())
        self.assertTrue(9 <= masked <= 10, masked)  # the same place may be drawn twice
        self.assertTrue((given.topk_weights > 0).all())

    def test_logfmt_is_measured_after_four_other_cases(self) -> None:
        plain, logfmt = (low_latency_inputs(config(use_logfmt=each), 0, CPU) for each in (False, True))
        self.assertFalse(torch.equal(plain.x, logfmt.x))
        self.assertLess(float(logfmt.x.abs().max()), 1.0)


class Check(unittest.TestCase):
    def test_the_weighted_sum_of_the_same_token_passes_and_nothing_else(self) -> None:
        given = low_latency_inputs(config(), 0, CPU)
        weights = given.topk_weights.masked_fill(given.topk_idx < 0, 0).sum(dim=1, keepdim=True)
        right = (given.x.float() * weights).to(torch.bfloat16)
        check_low_latency(config(), 0, given, right)
        missing = right.clone()
        missing[3] = float("nan")
        for wrong in (right * 1.1, right.roll(1, dims=0), missing):
            with self.assertRaisesRegex(WrongDataError, "DeepEP's own test"):
                check_low_latency(config(), 0, given, wrong)
