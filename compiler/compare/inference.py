"""Statistics of the comparison, on natural logarithms of one value per independent start.

Arrays have the starts on their last axis; everything before it is broadcast, so that the simulation which
measures error rates and power runs this very code. docs/compare.md says why these methods.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

from compiler.compare.model import Outcome

Array = npt.NDArray[np.float64]

MAX_NOISE_RATIO = 2.0
"""The promised error rate holds as long as the noise between starts of one tree is at most this many times
that of the other."""

_BALANCED_RATIO = 1.3
"""Ratio assumed for equally many starts a side. Then the t test hardly notices unequal noise: with this much
allowance it keeps its error rate up to MAX_NOISE_RATIO (docs/compare.md)."""

POWER = 0.8
"""Power for which the minimum detectable difference is given."""

MIN_BOOTSTRAP = 5
"""With fewer starts a side a bootstrap has too few distinct resamples to say anything."""

_NO_SPREAD = 1e-9
_CAUTION_LEVEL = 0.01
_RESAMPLES = 9999
_LARGEST_LOG_DIFFERENCE = math.log(10)
_POWER_GRID = (np.arange(64) + 0.5) / 64


@dataclass(frozen=True, slots=True)
class Estimate:
    """Difference of the mean logarithms, NEW minus BASE, with the variances and numbers of starts.

    ``error`` is the standard error that the test uses, to go with ``df`` degrees of freedom.
    """

    difference: Array
    error: Array
    var_base: Array
    var_new: Array
    n_base: int
    n_new: int

    @property
    def df(self) -> int:
        """Degrees of freedom."""
        return self.n_base + self.n_new - 2


def estimate(base: Array, new: Array) -> Estimate:
    """Compares the means of two samples of logarithms, at least 2 starts a side."""
    var_base, var_new = np.var(base, axis=-1, ddof=1), np.var(new, axis=-1, ddof=1)
    n_base, n_new = base.shape[-1], new.shape[-1]
    return Estimate(
        difference=np.mean(new, axis=-1) - np.mean(base, axis=-1),
        error=_error(var_base, var_new, n_base, n_new),
        var_base=var_base,
        var_new=var_new,
        n_base=n_base,
        n_new=n_new,
    )


def _error(var_base: Array, var_new: Array, n_base: int, n_new: int) -> Array:
    """Returns the largest pooled standard error over all noise ratios that are allowed for.

    Were the ratio known, the pooled t test would be exact with its own error. As a function of the squared
    ratio the squared error is convex, so that the ends of the range decide.
    """
    allowed = min(MAX_NOISE_RATIO, _BALANCED_RATIO * max(n_base, n_new) / min(n_base, n_new))
    squares = [
        (ratio / n_base + 1 / n_new)
        * ((n_base - 1) * var_base / ratio + (n_new - 1) * var_new)
        / (n_base + n_new - 2)
        for ratio in (allowed**2, allowed**-2)
    ]
    return np.asarray(np.sqrt(np.maximum(*squares)))


def p_value(found: Estimate) -> Array:
    """Returns the two-sided p-value of no difference."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(found.difference == 0, 0.0, np.abs(found.difference) / found.error)
    return np.asarray(2 * stats.t.sf(t, found.df))


def holm(p_values: Array) -> Array:
    """Returns Holm's adjusted p-values over the last axis: valid whatever the dependence of the figures."""
    number = p_values.shape[-1]
    order = np.argsort(p_values, axis=-1, kind="stable")
    stepped = np.take_along_axis(p_values, order, axis=-1) * np.arange(number, 0, -1)
    stepped = np.minimum(np.maximum.accumulate(stepped, axis=-1), 1.0)
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, stepped, axis=-1)
    return adjusted


def half_width(found: Estimate, level: float) -> Array:
    """Returns half the interval's width on the logarithmic scale; ``level`` is its error, e.g. 0.05."""
    return np.asarray(found.error * stats.t.isf(level / 2, found.df))


def decide(
    difference: Array, half: Array, p_adjusted: Array, alpha: float, margin: float
) -> npt.NDArray[np.object_]:
    """Returns for each figure the value of an Outcome, in terms of a figure where higher is better.

    ``same``: the interval lies inside the margin (log scale), whether or not a tiny difference is proven.
    ``better`` and ``worse``: the adjusted p-value is at most alpha. Else ``inconclusive``.
    """
    inside = np.abs(difference) + half < margin
    differs = p_adjusted <= alpha
    outcomes = np.full(np.shape(difference), Outcome.INCONCLUSIVE, dtype=object)
    outcomes[differs & (difference > 0)] = Outcome.BETTER
    outcomes[differs & (difference < 0)] = Outcome.WORSE
    outcomes[inside] = Outcome.SAME
    return outcomes


def minimum_detectable(found: Estimate, level: float, power: float = POWER) -> float | None:
    """Returns the smallest true difference (log scale) that such data call different with this power.

    Such data: as many starts, and the spreads of ``found`` taken as true; tested at ``level`` (an error,
    e.g. 0.05). None where it would be more than tenfold.
    """
    deviation = math.sqrt(float(found.var_base) / found.n_base + float(found.var_new) / found.n_new)
    chance_base, chance_new = np.meshgrid(
        stats.chi2.ppf(_POWER_GRID, found.n_base - 1) / (found.n_base - 1),
        stats.chi2.ppf(_POWER_GRID, found.n_new - 1) / (found.n_new - 1),
    )
    errors = _error(found.var_base * chance_base, found.var_new * chance_new, found.n_base, found.n_new)
    limits = stats.t.isf(level / 2, found.df) * errors / deviation

    def lacking(size: float) -> float:
        return float(np.mean(special.ndtr(size / deviation - limits))) - power

    if lacking(_LARGEST_LOG_DIFFERENCE) < 0:
        return None
    return float(optimize.brentq(lacking, 0.0, _LARGEST_LOG_DIFFERENCE, xtol=1e-7))


def noise_differs(found: Estimate) -> bool:
    """Whether the data contradict the assumption that the noise differs by at most MAX_NOISE_RATIO."""
    sides = [(float(found.var_base), found.n_base - 1), (float(found.var_new), found.n_new - 1)]
    (small, small_df), (large, large_df) = sorted(sides)
    if small < _NO_SPREAD**2:
        return large >= _NO_SPREAD**2
    return bool(stats.f.sf(large / small / MAX_NOISE_RATIO**2, large_df, small_df) < _CAUTION_LEVEL)


def hedges_g(base: Array, new: Array) -> float | None:
    """Returns the standardised difference of the mean logarithms, corrected for small samples."""
    df = base.size + new.size - 2
    pooled = ((base.size - 1) * np.var(base, ddof=1) + (new.size - 1) * np.var(new, ddof=1)) / df
    if pooled < _NO_SPREAD**2:
        return None
    return float((np.mean(new) - np.mean(base)) / math.sqrt(pooled) * (1 - 3 / (4 * df - 1)))


def coefficient_of_variation(logs: Array) -> float | None:
    """Returns the spread of a log-normal sample as a share of its mean, None for one start."""
    if logs.size < 2:
        return None
    return math.sqrt(math.expm1(min(float(np.var(logs, ddof=1)), 700.0)))


def varies(logs: Array) -> bool:
    """Whether the starts differ at all; values that are all the same are no independent measurements."""
    return bool(np.ptp(logs) >= _NO_SPREAD)


def bootstrap_t(base: Array, new: Array, level: float, seed: int = 1) -> tuple[float, float] | None:
    """Returns the studentised bootstrap interval of the difference of the means, NEW minus BASE (log scale).

    ``level`` is its error, e.g. 0.05. None below MIN_BOOTSTRAP starts a side.
    """
    return _bootstrap_t(((-1.0, base), (1.0, new)), level, seed)


def bootstrap_mean(sample: Array, level: float, seed: int = 1) -> tuple[float, float] | None:
    """Returns the same for the mean of one sample."""
    return _bootstrap_t(((1.0, sample),), level, seed)


def _bootstrap_t(
    signed: Sequence[tuple[float, Array]], level: float, seed: int
) -> tuple[float, float] | None:
    signs, samples = [sign for sign, _ in signed], [sample for _, sample in signed]
    if min(sample.size for sample in samples) < MIN_BOOTSTRAP:
        return None

    def mean(drawn: Sequence[Array], axis: int = -1) -> Any:
        return sum(sign * np.mean(one, axis=axis) for sign, one in zip(signs, drawn, strict=True))

    def deviation(drawn: Sequence[Array], axis: int = -1) -> Any:
        return np.sqrt(sum(np.var(one, axis=axis, ddof=1) / one.shape[axis] for one in drawn))

    observed, error = float(mean(samples)), float(deviation(samples))

    def statistic(*drawn: Array, axis: int = -1) -> Any:
        shift, spread = mean(drawn, axis) - observed, deviation(drawn, axis)
        # A resample of one value over and over has no spread: its statistic lies beyond every other.
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(spread > 0, shift / spread, np.copysign(np.finfo(float).max, shift))

    with np.errstate(over="ignore", invalid="ignore"):  # scipy's own error of the statistic, not used here
        resampled = stats.bootstrap(
            samples,
            statistic,
            n_resamples=_RESAMPLES,
            method="percentile",
            vectorized=True,
            rng=np.random.default_rng(seed),
        )
    low, high = np.quantile(resampled.bootstrap_distribution, [level / 2, 1 - level / 2], method="nearest")
    return observed - float(high) * error, observed - float(low) * error
