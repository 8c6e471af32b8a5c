"""The independent reference: from the seeds of all ranks, what this rank must receive and get back.

Nothing here uses the layout, the quantisation or the transport that it checks. Sums are float32.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Callable, NoReturn, Tuple

import torch

from .backends.base import LowLatencyReceived, Payload, StandardReceived
from .config import CHANNELS_PER_SCALE, Config
from .errors import WrongDataError
from .routing import Routing, route
from .tokens import TokenPool, expert_factors
from .world import World

DESCRIPTION = "recomputed on every rank from the seeds of all ranks, float32"
_ROWS_AT_ONCE = 256
_SCALE_TOLERANCE = 1e-6  # two ways of computing amax / 448 in float32
_HALF_STEP_SLACK = 1 + 1e-5  # the product of value and scale is rounded too
# LogFMT: 510 steps over at most 32 binades, whose middle is (2^step - 1) / (2^step + 1) from the ends; 5 %
# more for the approximate exponential and logarithm of the GPU
_LOGFMT_HALF_STEP = 1.05 * (2 ** (32 / 510) - 1) / (2 ** (32 / 510) + 1)
_E4M3_MAX = 448.0
_E4M3_HALF_SMALLEST_STEP = 2.0**-10
_SMALLEST_AMAX = 1e-4
# of some tokens (int64 numbers): sums that are expected, and the magnitudes to which errors are relative
_Expected = Callable[[torch.Tensor], Tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Checked:
    """What a passed check looked at. Errors are relative to the reference's magnitude; 0 is exact."""

    elements: int
    max_abs_error: float
    max_rel_error: float
    tolerance: float
    bias: float = 0.0  # of sums: by what share all of them together are too large or too small


def combine_tolerance(config: Config) -> float:
    """Relative bound: bfloat16 rounds up to three times on the way (each expert's result, the sum of a host,
    the sum of all; 2^-8 each), e4m3 once (2^-4), LogFMT once. All terms of a sum have the same
    sign, so none cancels."""
    bfloat16 = (1 + 2.0**-8) ** 3
    if config.use_logfmt and config.mode == "low_latency":
        bfloat16 *= 1 + _LOGFMT_HALF_STEP
    return bfloat16 * (1 + 2.0**-4) - 1 if config.fp8 else bfloat16 - 1


def bias_tolerance(elements: int) -> float:
    """By what share correctly rounded sums may be too large or too small together.

    One constant factor on bfloat16 values (an expert's, a weight) rounds them by 2^-9 in one direction at
    worst, two of them by 0.4 %; e4m3 rounds by 0.1 % on average. What else an element rounds by is random,
    3 % with e4m3, so that 20 % over the root of their number is 7 standard deviations.
    """
    return 0.005 + 0.2 / math.sqrt(elements)


class Reference:
    """Knows every rank's routing and tokens."""

    def __init__(self, config: Config, world: World, pool: TokenPool, device: torch.device) -> None:
        self._config = config
        self._world = world
        self._pool = pool
        self._device = device
        self._routings: list[Routing] = [route(config, rank, world.size) for rank in range(world.size)]
        self._idx = torch.cat([routing.topk_idx for routing in self._routings]).to(device)
        self._weights = torch.cat([routing.topk_weights for routing in self._routings]).to(device)
        self._local_experts = config.num_experts // world.size
        self._first_expert = world.rank * self._local_experts

    @property
    def routings(self) -> list[Routing]:
        """Every rank's routing, in rank order."""
        return self._routings

    def reordered(self, order_of: Callable[[torch.Tensor], torch.Tensor | None]) -> Reference:
        """The same tokens and experts, each token's in another order: ``order_of`` as
        StandardExchange.test_order."""
        order = order_of(self._idx)
        if order is None:
            return self
        other = copy.copy(self)
        other._idx, other._weights = self._idx.gather(1, order), self._weights.gather(1, order)
        return other

    # ---- dispatch

    def check_standard_dispatch(self, received: StandardReceived) -> Checked:
        """Every token, weight and count that standard mode must bring to this rank.

        :raises WrongDataError: the first difference
        """
        here = (self._idx >= self._first_expert) & (self._idx < self._first_expert + self._local_experts)
        tokens = here.any(dim=1).nonzero().flatten()
        self._check_counts(received.per_expert, [int((self._idx == e).sum()) for e in self._my_experts()])
        if received.payload.x.size(0) != tokens.numel():
            self._fail("dispatch", f"received {received.payload.x.size(0)} tokens, expected {tokens.numel()}")
        order = None if received.source is None else torch.argsort(received.source)
        if received.source is not None and not torch.equal(received.source[order], tokens):
            self._fail("dispatch", "the received tokens are not those that selected this rank's experts")

        topk_idx = received.topk_idx if order is None else received.topk_idx[order]
        weights = received.topk_weights if order is None else received.topk_weights[order]
        expected_idx = torch.where(
            here[tokens], self._idx[tokens] - self._first_expert, torch.full_like(topk_idx, -1)
        )
        expected_weights = torch.where(here[tokens], self._weights[tokens], torch.zeros_like(weights))
        for what, got, expected in (
            ("local expert", topk_idx, expected_idx),
            ("weight", weights, expected_weights),
        ):
            if not torch.equal(got, expected):
                row, k = (got != expected).nonzero()[0].tolist()
                place = f"{self._token_text(int(tokens[row]))}, top-k position {k}: {what}"
                self._fail(
                    "dispatch", f"{place} expected {expected[row, k].item()}, got {got[row, k].item()}"
                )

        first_here = torch.argmax(here[tokens].to(torch.int8), dim=1)
        experts = self._idx[tokens].gather(1, first_here.unsqueeze(1)).flatten()
        rows = torch.arange(tokens.numel(), device=self._device) if order is None else order
        checked = self._check_rows(received.payload, rows, tokens, experts)
        return self._grown(checked, 2 * topk_idx.numel() + self._local_experts)

    def check_rows_in_order(self, payload: Payload) -> Checked:
        """The payload alone of a standard dispatch, rows in order of source rank, then token; in low latency
        in order of source rank, expert, then token.

        :raises WrongDataError: the first difference
        """
        last = self._first_expert + self._local_experts
        here = (self._idx >= self._first_expert) & (self._idx < last)
        if self._config.mode == "standard":
            tokens = here.any(dim=1).nonzero().flatten()
            experts = self._idx[tokens].gather(1, here[tokens].int().argmax(dim=1, keepdim=True)).flatten()
        else:
            tokens, position = here.nonzero().unbind(dim=1)
            experts = self._idx[tokens, position]
            rank = torch.div(tokens, self._config.tokens, rounding_mode="floor")
            key = (rank * self._config.num_experts + experts) * self._config.tokens
            order = torch.argsort(key + tokens % self._config.tokens)
            tokens, experts = tokens[order], experts[order]
        if payload.x.size(0) != tokens.numel():
            self._fail("dispatch", f"received {payload.x.size(0)} rows, expected {tokens.numel()}")
        rows = torch.arange(tokens.numel(), device=self._device)
        return self._check_rows(payload, rows, tokens, experts)

    def check_low_latency_dispatch(self, received: LowLatencyReceived) -> Checked:
        """Every token in every slot that low latency must fill on this rank.

        :raises WrongDataError: the first difference
        """
        per_expert = [(self._idx == expert).any(dim=1).nonzero().flatten() for expert in self._my_experts()]
        self._check_counts(received.per_expert, [tokens.numel() for tokens in per_expert])
        slots = received.payload.x.size(1)
        rows, experts = [], []
        for local, tokens in enumerate(per_expert):
            order = torch.arange(tokens.numel(), device=self._device)
            if received.source is not None:
                sources = received.source[local, : tokens.numel()]
                order = torch.argsort(sources)
                if not torch.equal(sources[order], tokens):
                    expert = self._first_expert + local
                    self._fail("dispatch", f"expert {expert} holds other tokens than those that selected it")
            rows.append(local * slots + order)
            experts.append(torch.full_like(tokens, self._first_expert + local))
        flat = Payload(
            received.payload.x.flatten(0, 1),
            None if received.payload.scales is None else received.payload.scales.flatten(0, 1),
        )
        checked = self._check_rows(flat, torch.cat(rows), torch.cat(per_expert), torch.cat(experts))
        return self._grown(checked, self._local_experts)

    def _check_counts(self, got: list[int], expected: list[int]) -> None:
        for local, (count, right) in enumerate(zip(got, expected)):
            if count != right:
                self._fail(
                    "dispatch",
                    f"expert {self._first_expert + local}: {count} tokens counted, expected {right}",
                )

    def _check_rows(
        self, payload: Payload, rows: torch.Tensor, tokens: torch.Tensor, experts: torch.Tensor
    ) -> Checked:
        """payload rows ``rows`` must hold the global ``tokens``; ``experts`` only name the place."""
        total = Checked(0, 0.0, 0.0, 0.0)
        for start in range(0, rows.numel(), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            expected = self._pool.rows(tokens[part])
            # as bytes where rows are picked: indexing does not know fp8 on every device
            picked = payload.x.view(torch.uint8)[rows[part]].view(payload.x.dtype)
            if payload.scales is None:
                bad = None if torch.equal(picked, expected) else picked != expected
                value, error, relative = picked, 0.0, 0.0
            else:
                value, bad, error, relative = _compare_fp8(
                    self._config, picked, payload.scales[rows[part]], expected.float()
                )
            if bad is not None:
                row, channel = bad.nonzero()[0].tolist()
                place = (
                    f"{self._token_text(int(tokens[start + row]))}, expert {int(experts[start + row])}, "
                    f"channel {channel}"
                )
                wanted, got = expected[row, channel].item(), value[row, channel].item()
                self._fail("dispatch", f"{place}: expected {wanted:.7g}, got {got:.7g}")
            total = Checked(
                total.elements + picked.numel(),
                max(total.max_abs_error, error),
                max(total.max_rel_error, relative),
                0.0 if payload.scales is None else 2.0**-4 * _HALF_STEP_SLACK,
            )
        return total

    # ---- combine

    def check_combine(self, combined: torch.Tensor) -> Checked:
        """Every channel of every token of this rank: the weighted sum over its experts.

        :raises WrongDataError: the first element outside the tolerance, or what all of them are off
        """
        weights = (self._weights * expert_factors(self._config, self._device)[self._idx]).sum(1, keepdim=True)
        tolerance = combine_tolerance(self._config)

        def expect(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x, weight = self._pool.rows(tokens).float(), weights[tokens]
            expected = x * weight
            magnitude = expected.abs()
            if self._config.fp8:
                # below e4m3's normal range the error is a step of the block's scale (doubled by round_scale)
                largest = x.abs().amax(dim=1, keepdim=True)
                step = largest * weight * (2 / _E4M3_MAX * _E4M3_HALF_SMALLEST_STEP)
                magnitude = magnitude + step / tolerance
            return expected, magnitude

        return self._check_sums("combine", combined, expect, tolerance)

    def fill_with_constants(self, y: torch.Tensor) -> None:
        """Write one row for each of this rank's experts into all of its filled slots: what
        ``check_constant_combine`` expects back. y: bfloat16 [local experts, slots, hidden]."""
        rows = self._rows_of_experts(torch.tensor(self._my_experts(), device=self._device))
        for local, expert in enumerate(self._my_experts()):
            y[local, : int((self._idx == expert).sum())] = rows[local]

    def check_constant_combine(self, operation: str, combined: torch.Tensor) -> Checked:
        """As ``check_combine`` where each expert's result is one row, the same in all of its slots: what must
        come back then does not depend on which slot a token got.

        :raises WrongDataError: the first element outside the tolerance
        """

        def expect(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            expected = torch.zeros((tokens.numel(), self._config.hidden_size), device=self._device)
            magnitude = torch.zeros_like(expected)
            for idx, weights in zip(self._idx[tokens].unbind(1), self._weights[tokens].split(1, dim=1)):
                term = self._rows_of_experts(idx).float() * weights
                expected += term
                magnitude += term.abs()  # terms may cancel, their errors do not
            return expected, magnitude

        # nothing of this was dispatched, so fp8 has no part in it
        return self._check_sums(
            operation, combined, expect, combine_tolerance(replace(self._config, data_type="bfloat16"))
        )

    def _rows_of_experts(self, experts: torch.Tensor) -> torch.Tensor:
        """Rows that no token has."""
        return self._pool.rows(self._world.size * self._config.tokens + experts)

    def _check_sums(
        self, operation: str, combined: torch.Tensor, expect: _Expected, tolerance: float
    ) -> Checked:
        config, rank = self._config, self._world.rank
        first = rank * config.tokens
        if tuple(combined.shape) != (config.tokens, config.hidden_size):
            self._fail(
                operation, f"shape {tuple(combined.shape)}, expected {(config.tokens, config.hidden_size)}"
            )
        worst, worst_relative, product, square = 0.0, 0.0, 0.0, 0.0
        for start in range(0, config.tokens, _ROWS_AT_ONCE):
            part = slice(start, min(start + _ROWS_AT_ONCE, config.tokens))
            tokens = torch.arange(first + part.start, first + part.stop, device=self._device)
            expected, magnitude = expect(tokens)
            difference = combined[part].float() - expected
            product += float((difference * expected).sum(dtype=torch.float64))
            square += float((expected * expected).sum(dtype=torch.float64))
            error = difference.abs_()
            relative = error / magnitude.clamp_(min=1e-30)
            largest = float(relative.max())
            if not largest <= tolerance:  # also true for nan
                row, channel = (~(relative <= tolerance)).nonzero()[0].tolist()
                experts = self._idx[first + start + row].tolist()
                place = f"{self._token_text(first + start + row)}, experts {experts}, channel {channel}"
                wanted, got = expected[row, channel].item(), combined[start + row, channel].item()
                self._fail(operation, f"{place}: expected {wanted:.7g} within {tolerance:.3g}, got {got:.7g}")
            worst, worst_relative = max(worst, float(error.max())), max(worst_relative, largest)
        bias, most = product / square if square else 0.0, bias_tolerance(combined.numel())
        if not abs(bias) <= most:
            self._fail(
                operation,
                f"all elements together are {bias:+.2%} off, correct rounding allows {most:.2%}",
            )
        return Checked(combined.numel(), worst, worst_relative, tolerance, abs(bias))

    # ---- texts

    def _my_experts(self) -> range:
        return range(self._first_expert, self._first_expert + self._local_experts)

    def _token_text(self, global_id: int) -> str:
        return f"token {global_id % self._config.tokens} of rank {global_id // self._config.tokens}"

    def _fail(self, operation: str, text: str) -> NoReturn:
        raise WrongDataError(f"wrong data after {operation} at rank {self._world.rank}: {text}")

    @staticmethod
    def _grown(checked: Checked, elements: int) -> Checked:
        return Checked(
            checked.elements + elements, checked.max_abs_error, checked.max_rel_error, checked.tolerance
        )


def _compare_fp8(
    config: Config, q: torch.Tensor, scales: torch.Tensor, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None, float, float]:
    """Values, where they are wrong (None: nowhere), largest absolute and relative error.

    A value is right when its scale is that of its block and it lies within half a step of e4m3 around x.
    """
    shape = x.shape
    blocks = x.view(shape[0], shape[1] // CHANNELS_PER_SCALE, CHANNELS_PER_SCALE)
    right_scale = blocks.abs().amax(dim=2).clamp_(min=_SMALLEST_AMAX) / _E4M3_MAX
    scale = torch.pow(2.0, scales.float() - 127) if config.use_ue8m0 else scales
    if config.round_scale:
        # the smallest power of two that is not below
        is_power = (scale.view(torch.int32) & 0x007FFFFF) == 0
        ratio = scale / right_scale
        scale_ok = is_power & (ratio >= 1 - _SCALE_TOLERANCE) & (ratio < 2 * (1 + _SCALE_TOLERANCE))
    else:
        scale_ok = (scale / right_scale - 1).abs() <= _SCALE_TOLERANCE
    value = q.float().view(blocks.shape) * scale.unsqueeze(2)
    error = (value - blocks).abs_()
    # 2^floor(log2|v|) by clearing the mantissa; e4m3 has 3 bits of it, so half a step is 1/16 of that
    binade = ((blocks / scale.unsqueeze(2)).view(torch.int32) & 0x7F800000).view(torch.float32)
    half_step = (binade.mul_(1 / 16)).clamp_(min=_E4M3_HALF_SMALLEST_STEP)
    ok = error <= half_step.mul_(scale.unsqueeze(2) * _HALF_STEP_SLACK)
    ok &= scale_ok.unsqueeze(2)
    floor = scale.unsqueeze(2) * 2.0**-6  # e4m3's smallest normal value: below it errors are absolute
    relative = float((error / blocks.abs().maximum(floor)).max()) if error.numel() else 0.0
    bad = None if bool(ok.all()) else ~ok.view(shape)
    return value.view(shape), bad, float(error.max()) if error.numel() else 0.0, relative
