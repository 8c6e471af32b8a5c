"""Statistics of the comparison, on natural logarithms of one value per independent start.

Arrays have the starts on their last axis; everything before it is broadcast, so that the simulation which
measures error rates and power runs this very code. docs/compare.md says why these methods.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from compiler.compare.model import Outcome

Array = npt.NDArray[np.float64]

MAX_SD_RATIO = 2.0
"""With few starts, the noise of one tree is taken to be at most this many times that of the other."""

MANY_STARTS = 8
"""From this many starts a side on, nothing is assumed about the noise of the two trees."""

POWER = 0.8
"""Power for which the minimum detectable difference is given."""

MIN_BOOTSTRAP = 5
"""With fewer starts a side a bootstrap has too few distinct resamples to say anything."""

_RESAMPLES = 9999
_LARGEST_LOG_DIFFERENCE = math.log(10)
_POWER_GRID = (np.arange(2000) + 0.5) / 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """Difference of the mean logarithms, NEW minus BASE.

    ``error`` is the standard error that the test uses, never below ``plain_error``, the one of the
    difference itself. ``df`` are the degrees of freedom of the t distribution that bounds the test.
    """

    difference: Array
    error: Array
    plain_error: Array
    df: int


def estimate(base: Array, new: Array) -> Estimate:
    """Compares the means of two samples of logarithms; at least 2 starts a side.

    Few starts: for a known ratio of the standard deviations the pooled t test is exact. The error is the
    largest over all ratios up to MAX_SD_RATIO; as a function of the squared ratio it is convex, so the two
    ends decide. Many starts: separate variances with the smaller sample's degrees of freedom, which bounds
    the test for any ratio.
    """
    n_base, n_new = base.shape[-1], new.shape[-1]
    var_base = np.var(base, axis=-1, ddof=1)
    var_new = np.var(new, axis=-1, ddof=1)
    difference = np.mean(new, axis=-1) - np.mean(base, axis=-1)
    plain = np.sqrt(var_base / n_base + var_new / n_new)
    if min(n_base, n_new) >= MANY_STARTS:
        return Estimate(difference, plain, plain, min(n_base, n_new) - 1)
    df = n_base + n_new - 2
    squares = [
        (ratio / n_base + 1 / n_new) * ((n_base - 1) * var_base / ratio + (n_new - 1) * var_new) / df
        for ratio in (MAX_SD_RATIO**2, MAX_SD_RATIO**-2)
    ]
    return Estimate(difference, np.sqrt(np.maximum(*squares)), plain, df)


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
    """Returns for each figure an Outcome in terms of a figure where higher is better.

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


def power_at(true_difference: float, found: Estimate, level: float) -> float:
    """Returns the probability of finding a difference (log scale), the noise being as in ``found``."""
    chi = np.sqrt(stats.chi2.ppf(_POWER_GRID, found.df) / found.df)
    limit = float(stats.t.isf(level / 2, found.df)) * float(found.error) / float(found.plain_error) * chi
    size = true_difference / float(found.plain_error)
    return float(np.mean(stats.norm.cdf(size - limit) + stats.norm.cdf(-size - limit)))


def minimum_detectable(found: Estimate, level: float, power: float = POWER) -> float | None:
    """Returns the smallest difference (log scale) that is found with this power; None beyond tenfold."""
    if power_at(_LARGEST_LOG_DIFFERENCE, found, level) < power:
        return None
    return float(
        optimize.brentq(
            lambda size: power_at(size, found, level) - power, 0.0, _LARGEST_LOG_DIFFERENCE, xtol=1e-7
        )
    )


def hedges_g(base: Array, new: Array) -> float | None:
    """Returns the standardised difference of the mean logarithms, corrected for small samples."""
    df = base.size + new.size - 2
    pooled = ((base.size - 1) * np.var(base, ddof=1) + (new.size - 1) * np.var(new, ddof=1)) / df
    if pooled == 0:
        return None
    return float((np.mean(new) - np.mean(base)) / math.sqrt(pooled) * (1 - 3 / (4 * df - 1)))


def bootstrap_t(base: Array, new: Array, level: float, seed: int = 1) -> tuple[float, float] | None:
    """Returns the studentised bootstrap interval (log scale), None below MIN_BOOTSTRAP starts a side."""
    if min(base.size, new.size) < MIN_BOOTSTRAP:
        return None
    observed = float(np.mean(new) - np.mean(base))
    error = math.sqrt(np.var(base, ddof=1) / base.size + np.var(new, ddof=1) / new.size)

    def statistic(resampled_base: Array, resampled_new: Array, axis: int = -1) -> Any:
        shift = np.mean(resampled_new, axis=axis) - np.mean(resampled_base, axis=axis) - observed
        spread = np.sqrt(
            np.var(resampled_base, axis=axis, ddof=1) / base.size
            + np.var(resampled_new, axis=axis, ddof=1) / new.size
        )
        # A resample of one value over and over has no spread: its statistic lies beyond every other.
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(spread > 0, shift / spread, np.copysign(np.finfo(float).max, shift))

    resampled = stats.bootstrap(
        (base, new),
        statistic,
        n_resamples=_RESAMPLES,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    low, high = np.quantile(resampled.bootstrap_distribution, [level / 2, 1 - level / 2], method="nearest")
    return observed - float(high) * error, observed - float(low) * error
