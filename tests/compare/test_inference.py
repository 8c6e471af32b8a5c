"""The statistics against known truth: error rates and power by simulation with fixed seeds, algebra exactly.

The bounds leave room for chance (binomial, more than four standard deviations), not for a broken method:
the same data show that the usual choices break the promise.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from compiler.compare import inference
from compiler.compare.model import Outcome
from tests.compare.simulate import (
    ALPHA,
    MARGIN,
    World,
    coverage,
    detectable,
    draw,
    false_alarms,
    found,
    power,
)

TREES = 2000
_CHANCE = 4.5 * math.sqrt(ALPHA * (1 - ALPHA) / TREES)


@pytest.mark.parametrize(
    "world",
    [
        World("few", 2, 2),
        World("usual", 3, 3),
        World("correlated", 5, 5, correlation=0.8),
        World("many figures", 5, 5, figures=32),
        World("unequal numbers", 10, 2),
        World("noisier", 3, 3, noise=2.0),
        World("noisier and fewer", 10, 3, noise=2.0),
        World("stragglers", 5, 5, stragglers=0.1),
    ],
    ids=lambda world: world.title,
)
def test_false_alarms_stay_below_the_promise(world: World) -> None:
    assert false_alarms(world, TREES, np.random.default_rng(11))[0] <= ALPHA + _CHANCE


def test_the_promise_is_not_kept_by_being_deaf() -> None:
    rate = false_alarms(World("equal noise, one figure", 5, 5, figures=1), 5000, np.random.default_rng(12))[0]
    assert 0.015 <= rate <= ALPHA


def test_welch_breaks_the_promise_where_this_method_keeps_it() -> None:
    ours, welch = false_alarms(World("", 10, 3, noise=2.0), TREES, np.random.default_rng(13))
    assert ours <= ALPHA + _CHANCE
    assert welch > 2 * ALPHA


def test_without_correction_many_figures_raise_false_alarms() -> None:
    base, new = draw(World("", 5, 5, figures=32), TREES, np.random.default_rng(14))
    raw = inference.p_value(inference.estimate(base, new)) <= ALPHA
    assert raw.any(axis=1).mean() > 0.3


@pytest.mark.parametrize("starts", [3, 5, 10])
def test_the_detectable_difference_is_found_with_the_power_claimed(starts: int) -> None:
    world = World("", starts, starts, cv=0.02, shifted=1)
    smallest = detectable(world)
    assert smallest is not None
    shifted = World("", starts, starts, cv=0.02, shifted=1, shift=smallest)
    assert found(shifted, TREES, np.random.default_rng(15)) == pytest.approx(inference.POWER, abs=0.05)


def test_a_regression_beyond_the_threshold_is_hardly_ever_called_the_same_or_better() -> None:
    said = power(World("", 5, 5, cv=0.01, shift=MARGIN), TREES, np.random.default_rng(16))
    assert said[Outcome.SAME] + said[Outcome.BETTER] <= ALPHA


def test_five_starts_show_a_large_regression_and_ten_show_equality() -> None:
    rng = np.random.default_rng(17)
    assert power(World("", 5, 5, cv=0.01, shift=math.log(1.06)), TREES, rng)[Outcome.WORSE] > 0.9
    assert power(World("", 10, 10, cv=0.01), TREES, rng)[Outcome.SAME] > 0.9


def test_interval_coverage_where_the_percentile_bootstrap_fails() -> None:
    hits = coverage(3, 200, np.random.default_rng(18))
    assert hits["t (used)"] >= 0.93
    assert hits["percentile"] < 0.9


def test_the_interval_excludes_no_difference_exactly_where_the_test_does() -> None:
    base, new = draw(World("", 4, 6, shift=0.03), 500, np.random.default_rng(19))
    estimate = inference.estimate(base, new)
    outside = np.abs(estimate.difference) > inference.half_width(estimate, 0.01)
    assert (outside == (inference.p_value(estimate) < 0.01)).all()
    assert outside.any() and not outside.all()


def test_holm_against_a_worked_example() -> None:
    adjusted = inference.holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert inference.holm(np.array([0.9, 0.8])) == pytest.approx([1.0, 1.0])


def test_the_allowance_makes_the_error_no_smaller_than_students() -> None:
    base, new = draw(World("", 4, 4, figures=50), 1, np.random.default_rng(20))
    ours = inference.p_value(inference.estimate(base, new))
    student = stats.ttest_ind(base, new, axis=-1).pvalue
    assert (ours >= student).all()
    assert (ours <= 2.5 * student + 0.05).all()


def test_swapping_the_trees_turns_the_verdict_round() -> None:
    base, new = draw(World("", 3, 7, shift=0.05), 200, np.random.default_rng(21))
    one, other = inference.estimate(base, new), inference.estimate(new, base)
    assert other.difference == pytest.approx(-one.difference)
    assert other.error == pytest.approx(one.error)


def test_no_noise_means_no_number_that_breaks() -> None:
    flat, shifted = np.zeros(3), np.full(3, 0.1)
    assert inference.hedges_g(flat, shifted) is None
    assert float(inference.p_value(inference.estimate(flat, flat))) == 1.0
    assert float(inference.p_value(inference.estimate(flat, shifted))) < 1e-9


def test_noise_beyond_the_assumption_is_noticed_and_noise_within_it_hardly_ever() -> None:
    def noticed(world: World) -> float:
        base, new = draw(world, 400, np.random.default_rng(24))
        pairs = zip(base[:, 0], new[:, 0], strict=True)
        return float(np.mean([inference.noise_differs(inference.estimate(*pair)) for pair in pairs]))

    assert noticed(World("", 5, 5, figures=1, noise=2.0)) <= 0.04
    assert noticed(World("", 10, 5, figures=1, noise=8.0)) > 0.5
    assert noticed(World("", 10, 5, figures=1, noise=1 / 8)) > 0.5


def test_a_hopeless_spread_has_no_detectable_difference() -> None:
    base, new = draw(World("", 2, 2, figures=1, cv=2.0), 1, np.random.default_rng(22))
    assert inference.minimum_detectable(inference.estimate(base[0, 0], new[0, 0]), 0.001) is None


def test_the_bootstrap_is_reproducible_and_needs_five_starts() -> None:
    base, new = (side[0, 0] for side in draw(World("", 5, 6, cv=0.01), 1, np.random.default_rng(23)))
    first = inference.bootstrap_t(base, new, 0.05)
    assert first == inference.bootstrap_t(base, new, 0.05)
    assert first is not None and first[0] < float(np.mean(new) - np.mean(base)) < first[1]
    assert inference.bootstrap_t(base[:4], new, 0.05) is None
