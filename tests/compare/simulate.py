"""Error rates and power of ``compare`` on simulated data with known truth; docs/compare.md holds its output.

``python -m tests.compare.simulate`` prints Markdown tables. Every tree has several figures, every figure its
own spread between starts (coefficient of variation drawn log-uniformly from 0.5 % to 5 %), times are
log-normal, and the figures of a start may be correlated. The code under test is the product's own.
"""

from __future__ import annotations

import argparse
import math
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy
from scipy import stats

from compiler.compare import inference, spread
from compiler.compare.model import Outcome

Array = npt.NDArray[np.float64]

ALPHA = 0.05
MARGIN = math.log1p(0.03)


@dataclass(frozen=True, slots=True)
class World:
    """What is true. ``noise`` is NEW's spread over BASE's; ``shift`` the true log difference of a time.

    ``cv`` fixes the spread of every figure, else it is drawn; ``stragglers`` is the share of starts that are
    slowed, by 10 % on average; ``shifted`` how many figures have the difference (all of them by default).
    """

    title: str
    n_base: int
    n_new: int
    figures: int = 8
    correlation: float = 0.0
    noise: float = 1.0
    shift: float = 0.0
    cv: float | None = None
    stragglers: float = 0.0
    shifted: int | None = None


def draw(world: World, trees: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Returns logarithms of the figures, shape (trees, figures, starts), for BASE and NEW."""
    shape = (trees, world.figures, 1)
    low, high = math.log(0.005), math.log(0.05)
    sd = np.exp(rng.uniform(low, high, shape)) if world.cv is None else np.full(shape, world.cv)
    sides = []
    for starts, factor in ((world.n_base, 1.0), (world.n_new, world.noise)):
        common = rng.standard_normal((trees, 1, starts))
        own = rng.standard_normal((trees, world.figures, starts))
        logs = factor * sd * (math.sqrt(world.correlation) * common + math.sqrt(1 - world.correlation) * own)
        if world.stragglers:
            slowed = rng.random(logs.shape) < world.stragglers
            logs = logs + slowed * rng.exponential(0.1, logs.shape)
        sides.append(logs)
    shifted = world.figures if world.shifted is None else world.shifted
    sides[1][:, :shifted] += world.shift
    return sides[0], sides[1]


def outcomes(base: Array, new: Array) -> npt.NDArray[np.object_]:
    """Returns what the product says of each figure (a time: lower is better), shape (trees, figures)."""
    estimate = inference.estimate(base, new)
    adjusted = inference.holm(inference.p_value(estimate))
    half = inference.half_width(estimate, ALPHA / base.shape[1])
    return inference.decide(-estimate.difference, half, adjusted, ALPHA, MARGIN)


def welch(base: Array, new: Array) -> npt.NDArray[np.bool_]:
    """Returns which figures Welch's t test with Holm's correction would call different: the usual choice."""
    p_values = np.asarray(stats.ttest_ind(base, new, axis=-1, equal_var=False).pvalue)
    return np.asarray(inference.holm(p_values) <= ALPHA)


def false_alarms(world: World, trees: int, rng: np.random.Generator) -> tuple[float, float]:
    """Returns the share of trees without any difference in which some figure is called better or worse.

    First for the product's method, then for Welch's test with Holm.
    """
    base, new = draw(world, trees, rng)
    said = outcomes(base, new)
    alarm = (said == Outcome.BETTER) | (said == Outcome.WORSE)
    return float(alarm.any(axis=1).mean()), float(welch(base, new).any(axis=1).mean())


def power(world: World, trees: int, rng: np.random.Generator) -> dict[Outcome, float]:
    """Returns the share of shifted figures of which each outcome is said."""
    said = outcomes(*draw(world, trees, rng))[:, : world.shifted]
    return {outcome: float((said == outcome).mean()) for outcome in Outcome}


def found(world: World, trees: int, rng: np.random.Generator) -> float:
    """Returns the share of shifted figures whose difference is shown, whether or not it matters."""
    base, new = draw(world, trees, rng)
    adjusted = inference.holm(inference.p_value(inference.estimate(base, new)))
    return float((adjusted[:, : world.shifted] <= ALPHA).mean())


def detectable(world: World) -> float | None:
    """Returns the log difference that is claimed to be found with inference.POWER at the true spread."""
    sd = world.cv or 0.0
    base, new = (_exact(n, sd * f) for n, f in ((world.n_base, 1.0), (world.n_new, world.noise)))
    return inference.minimum_detectable(inference.estimate(base, new), ALPHA / world.figures)


def _exact(number: int, sd: float) -> Array:
    """Returns a sample with mean 0 and exactly this standard deviation."""
    sample = np.linspace(-1.0, 1.0, number)
    return sample / np.std(sample, ddof=1) * sd


def coverage(starts: int, samples: int, rng: np.random.Generator) -> dict[str, float]:
    """Returns how often 95 % intervals for one figure hold the truth, by method."""
    hits = dict.fromkeys(("percentile", "BCa", "studentised", "t (used)"), 0)
    for _ in range(samples):
        base, new = rng.standard_normal((2, starts))
        for name, (low, high) in _intervals(base, new).items():
            hits[name] += low <= 0 <= high
    return {name: number / samples for name, number in hits.items()}


def coverage_of_one(starts: int, samples: int, rng: np.random.Generator) -> float:
    """Returns how often the report's 95 % interval over the starts of one entry holds the truth."""
    found = [inference.bootstrap_mean(rng.standard_normal(starts), ALPHA) for _ in range(samples)]
    return sum(1 for ends in found if ends and ends[0] <= 0 <= ends[1]) / samples


def _intervals(base: Array, new: Array) -> dict[str, tuple[float, float]]:
    def shift(one: Array, other: Array, axis: int = -1) -> Array:
        return np.asarray(np.mean(other, axis=axis) - np.mean(one, axis=axis))

    holding: dict[str, tuple[float, float]] = {}
    methods: tuple[Literal["percentile", "BCa"], ...] = ("percentile", "BCa")
    for method in methods:
        interval = stats.bootstrap(
            (base, new), shift, n_resamples=999, method=method, rng=np.random.default_rng(1)
        ).confidence_interval
        holding[method] = (float(interval.low), float(interval.high))
    studentised = inference.bootstrap_t(base, new, ALPHA)
    if studentised is not None:
        holding["studentised"] = studentised
    estimate = inference.estimate(base, new)
    half = float(inference.half_width(estimate, ALPHA))
    holding["t (used)"] = (float(estimate.difference) - half, float(estimate.difference) + half)
    return holding


def false_outliers(number: int, sets: int, rng: np.random.Generator) -> tuple[float, float]:
    """Returns the share of sets of normal noise in which any value is called an outlier.

    First for the cut-off in use, then for the usual 3.5.
    """
    values = rng.standard_normal((sets, number))
    distances = np.abs(values - np.median(values, axis=1, keepdims=True))
    scores = distances.max(axis=1) / (spread.CONSISTENT * np.median(distances, axis=1))
    return float((scores > spread.cutoff(number)).mean()), float((scores > 3.5).mean())


NULL_WORLDS = (
    *(World(f"{n} + {n} starts, {m} figures", n, n, m) for n in (2, 3, 5, 10) for m in (2, 8, 32)),
    *(World(f"{n} + {n}, 8 figures, correlation 0.8", n, n, correlation=0.8) for n in (2, 3, 5, 10)),
    World("2 + 10", 2, 10),
    World("3 + 8", 3, 8),
    World("2 + 2, NEW twice as noisy", 2, 2, noise=2.0),
    World("3 + 3, NEW twice as noisy", 3, 3, noise=2.0),
    World("5 + 5, NEW twice as noisy", 5, 5, noise=2.0),
    World("5 + 5, 32 figures, NEW twice as noisy", 5, 5, 32, noise=2.0),
    World("5 + 4, NEW twice as noisy", 5, 4, noise=2.0),
    World("10 + 2, NEW twice as noisy", 10, 2, noise=2.0),
    World("10 + 3, NEW twice as noisy", 10, 3, noise=2.0),
    World("10 + 10, NEW twice as noisy", 10, 10, noise=2.0),
    World("3 + 3, a tenth of all starts slowed", 3, 3, stragglers=0.1),
    World("5 + 5, a tenth of all starts slowed", 5, 5, stragglers=0.1),
    World("10 + 10, a tenth of all starts slowed", 10, 10, stragglers=0.1),
    World("10 + 3, a tenth of all starts slowed", 10, 3, stragglers=0.1),
)
"""Nothing differs (or only the noise does), within what the method promises."""

BEYOND = (
    World("3 + 3, NEW 4 times as noisy", 3, 3, noise=4.0),
    World("5 + 5, NEW 4 times as noisy", 5, 5, noise=4.0),
    World("10 + 10, NEW 4 times as noisy", 10, 10, noise=4.0),
    World("10 + 3, NEW 4 times as noisy", 10, 3, noise=4.0),
)
"""Nothing differs, but the noise does by more than the method assumes for so few starts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trees", type=int, default=20000, help="simulated comparisons per line")
    parser.add_argument(
        "--samples", type=int, default=400, help="samples per line for the bootstraps' coverage"
    )
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    print(f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}; {args}\n")
    _table(
        ("no true difference", "false alarms", "Welch and Holm"),
        ((world.title, *map(_percent, false_alarms(world, args.trees, rng))) for world in NULL_WORLDS),
    )
    _table(
        ("beyond the assumption", "false alarms", "Welch and Holm"),
        ((world.title, *map(_percent, false_alarms(world, args.trees, rng))) for world in BEYOND),
    )
    _table(
        ("starts, spread", "detectable", "found at detectable", "worse at +3 %", "worse at +5 %",
         "worse at +10 %", "same at 0 %", "same at +3 %"),
        _power_rows(args.trees // 4, rng),
    )  # fmt: skip
    _table(
        ("starts a side", "percentile", "BCa", "studentised", "t (used)"),
        (
            (str(n), *(_percent(hit) if hit else "-" for hit in coverage(n, args.samples, rng).values()))
            for n in (2, 3, 5, 10)
        ),
    )
    # A generator of its own: the lines above stay what they were.
    alone = np.random.default_rng(args.seed)
    _table(
        ("starts of one entry", "studentised (used)"),
        ((str(n), _percent(coverage_of_one(n, args.samples, alone))) for n in (5, 6, 8, 10)),
    )
    _table(
        ("values", "cut-off", "false outliers", "with 3.5"),
        (
            (str(n), f"{spread.cutoff(n):.2f}", *map(_percent, false_outliers(n, args.trees * 20 // n, rng)))
            for n in (4, 5, 8, 9, 16, 32, 64, 128)
        ),
    )


def _power_rows(trees: int, rng: np.random.Generator) -> Iterator[tuple[str, ...]]:
    for n in (2, 3, 5, 10):
        for cv in (0.005, 0.01, 0.02, 0.05):
            world = World("", n, n, cv=cv, shifted=1)
            smallest = detectable(world)
            yield (
                f"{n} + {n}, {cv:.1%}",
                "> x10" if smallest is None else f"{math.expm1(smallest):.1%}",
                "-" if smallest is None else _percent(found(replace(world, shift=smallest), trees, rng)),
                *(
                    _percent(power(replace(world, shift=math.log1p(size)), trees, rng)[outcome])
                    for size, outcome in (
                        (0.03, Outcome.WORSE),
                        (0.05, Outcome.WORSE),
                        (0.10, Outcome.WORSE),
                        (0.0, Outcome.SAME),
                        (0.03, Outcome.SAME),
                    )
                ),
            )


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> None:
    print("| " + " | ".join(head) + " |")
    print("|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)
    print()


def _percent(share: float) -> str:
    return f"{share:.1%}"


if __name__ == "__main__":
    main()
