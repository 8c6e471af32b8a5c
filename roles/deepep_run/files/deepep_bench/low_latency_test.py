"""Tokens and routing of DeepEP's test_low_latency.py, drawn as it draws them: on a GPU they are the same.

The time of its kernels follows them. On 2 ranks one way carries 474 rows over the link and the other 518, and
one SM has to send up to 16; another routing just as uniform has 529 and 18, and its combine takes up to 10 %
longer (docs/h100).
"""

from __future__ import annotations

import random
from typing import NamedTuple

import torch

from .config import Config
from .errors import WrongDataError

_SEED = 1
_MASKED = 10
_LOGFMT_CASES = 4
_BOUND_FP8, _BOUND_BF16 = 9e-4, 1e-5


class LowLatencyInputs(NamedTuple):
    """x bfloat16 [tokens, hidden], topk_idx int64 [tokens, topk] with -1 where masked, weights float32."""

    x: torch.Tensor
    topk_idx: torch.Tensor
    topk_weights: torch.Tensor


def low_latency_inputs(config: Config, rank: int, device: torch.device) -> LowLatencyInputs:
    """What ``rank`` has in the test's measurement; its very numbers only on a GPU, by whose generator."""
    drawn = torch.Generator(device=device).manual_seed(_SEED + rank)
    chosen = random.Random(_SEED + rank)  # noqa: S311 - the test's own, not a secret

    def normal(columns: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.randn((config.tokens, columns), generator=drawn, dtype=dtype, device=device)

    for _ in range(_LOGFMT_CASES if config.use_logfmt else 0):  # it checks these, and measures the last one
        normal(config.hidden_size, torch.bfloat16)
        chosen.random()
    x = normal(config.hidden_size, torch.bfloat16) * 0.1
    scores = normal(config.num_experts, torch.float32).abs() + 1
    topk_idx = torch.topk(scores, config.num_topk, dim=-1, largest=True, sorted=True)[1]
    topk_weights = normal(config.num_topk, torch.float32).abs()
    for _ in range(_MASKED):
        topk_idx[chosen.randint(0, config.tokens - 1), chosen.randint(0, config.num_topk - 1)] = -1
    return LowLatencyInputs(x, topk_idx, topk_weights)


def check_low_latency(config: Config, rank: int, given: LowLatencyInputs, combined: torch.Tensor) -> None:
    """With experts that change nothing: each token times the sum of its weights, within the test's bound.

    :raises WrongDataError: it is not
    """
    weights = given.topk_weights.masked_fill(given.topk_idx < 0, 0).sum(dim=1, keepdim=True)
    wanted, got = (given.x * weights).double() + 1, combined.double() + 1
    difference = float(1 - 2 * (wanted * got).sum() / (wanted * wanted + got * got).sum())
    bound = _BOUND_FP8 if config.fp8 else _BOUND_BF16
    if not difference < bound:  # also NaN
        raise WrongDataError(
            f"wrong data after combine at rank {rank} with the tokens of DeepEP's own test: differs by "
            f"{difference:.3g}, its bound is {bound:g}"
        )
