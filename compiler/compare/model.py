"""What a comparison consists of: plain values, without a word about how they are computed or shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from compiler.compare.figures import TESTED_KERNEL_TIME, Figure

Scalar = str | int | float | bool | None


class Outcome(StrEnum):
    """What can be said of a figure, or of the whole comparison."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"
    INCONCLUSIVE = "inconclusive"


class Side(StrEnum):
    """One of the two trees."""

    BASE = "BASE"
    NEW = "NEW"


@dataclass(frozen=True, slots=True)
class Start:
    """What one independent start measured for one operation. ``figures`` by key, only those that apply.

    ``moved`` is the number of bytes of all ranks per iteration, None where the record does not say.
    ``circumstances`` are the hosts, and the software versions that the record and the hosts' metadata name;
    ``marks`` say what was wrong while it was measured, ``own_marks`` what only while DeepEP's own test was;
    ``own_method`` is how that one was followed.
    """

    run: str
    figures: Mapping[str, float]
    moved: float | None
    circumstances: Mapping[str, str]
    marks: tuple[str, ...] = ()
    own_marks: tuple[str, ...] = ()
    own_method: str | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """All independent starts of one configuration and operation in one tree.

    ``configuration`` is what must be equal for two series to be compared. ``settings`` (image, environment,
    additional arguments) may differ: they are what people change on purpose. ``places`` are the entries (and
    sweep steps) that the starts come from. ``label`` is its name in this comparison.
    """

    configuration: Mapping[str, Scalar]
    settings: Mapping[str, str]
    places: tuple[str, ...]
    starts: tuple[Start, ...]
    label: str = ""

    @property
    def runs(self) -> tuple[str, ...]:
        """Ids of the runs, one per start."""
        return tuple(start.run for start in self.starts)

    @property
    def marks(self) -> tuple[str, ...]:
        """The marks of all starts, each once."""
        return tuple(dict.fromkeys(mark for start in self.starts for mark in start.marks))

    @property
    def own_marks(self) -> tuple[str, ...]:
        """Those of DeepEP's own test alone, each once."""
        return tuple(dict.fromkeys(mark for start in self.starts for mark in start.own_marks))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A run that takes no part, and why."""

    side: Side
    run: str
    place: str
    verdict: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Tree:
    """A result tree as far as a comparison needs it."""

    side: Side
    path: Path
    scenario: str
    run_id: str | None
    stamp: str | None
    num_runs: int
    series: tuple[Series, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that BASE and NEW do not have in common."""

    what: str
    base: str
    new: str


def _methods(series: Series) -> set[str]:
    return {start.own_method for start in series.starts if start.own_method is not None}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two series that may be compared, and what was changed between them."""

    base: Series
    new: Series
    changed: tuple[Difference, ...]

    @property
    def cautions(self) -> tuple[str, ...]:
        """What was wrong while starts of either side were measured, and what is not compared."""
        sides = ((Side.BASE, self.base), (Side.NEW, self.new))
        marked = tuple(
            f"{number} of {len(series.starts)} starts of {side} are marked: {'; '.join(series.marks)}"
            for side, series in sides
            if (number := sum(1 for start in series.starts if start.marks))
        )
        own_marked = tuple(
            f"NVLink and RDMA bandwidth of {number} of {len(series.starts)} starts of {side} are marked: "
            + "; ".join(series.own_marks)
            for side, series in sides
            if (number := sum(1 for start in series.starts if start.own_marks))
        )
        return marked + own_marked + self._other_kernel_times + self._other_methods

    @property
    def one_method(self) -> bool:
        """Whether what DeepEP's own tests print was measured in one way on both sides, as far as is told."""
        return len(_methods(self.base) | _methods(self.new)) < 2

    @property
    def _other_methods(self) -> tuple[str, ...]:
        if self.one_method:
            return ()
        base, new = (" and ".join(sorted(_methods(series))) for series in (self.base, self.new))
        return (
            "NVLink and RDMA bandwidth are not compared, since DeepEP's own tests measure them in different "
            f"ways: {Side.BASE}: {base}; {Side.NEW}: {new}",
        )

    @property
    def _other_kernel_times(self) -> tuple[str, ...]:
        """Says so where trees of an older and a newer program both have kernel times."""
        base, new = (
            {key for start in series.starts for key in start.figures} for series in (self.base, self.new)
        )
        for older, newer, names in ((base, new, (Side.BASE, Side.NEW)), (new, base, (Side.NEW, Side.BASE))):
            if TESTED_KERNEL_TIME in older - newer and "kernel_time" in newer:
                return (
                    f"kernel times are not compared: {names[0]}'s are of the call of DeepEP's own test, "
                    f"{names[1]}'s of the run's own call",
                )
        return ()


@dataclass(frozen=True, slots=True)
class Refused:
    """Two series that belong together by their place but must not be compared, and why."""

    base: Series
    new: Series
    reasons: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Unpaired:
    """A series without a counterpart."""

    side: Side
    series: Series
    why: str


@dataclass(frozen=True, slots=True)
class Pairing:
    """Every series of both trees, once."""

    pairs: tuple[Pair, ...]
    refused: tuple[Refused, ...]
    unpaired: tuple[Unpaired, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """Relative difference, NEW over BASE minus 1, from ``low`` to ``high``; ``level`` as a fraction."""

    low: float
    high: float
    level: float


@dataclass(frozen=True, slots=True)
class Sample:
    """The values of one side, one per start, in the record's own unit, and how much they vary."""

    values: tuple[float, ...]
    geometric_mean: float
    cv: float | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What can be said of one figure of one pair.

    ``relative_difference`` is the ratio of the geometric means, NEW over BASE, minus 1. ``interval`` holds
    together with those of all other figures. ``bootstrap`` is this figure's own. ``minimum_detectable`` is
    the smallest relative difference (a positive fraction) that is found with the power claimed, None where it
    would be more than tenfold. ``hypothesis`` numbers the distinct questions from 1: figures that are each
    other's reciprocal in all starts share one. All of these are None where there is no test. ``caution`` says
    what makes the outcome doubtful.
    """

    figure: Figure
    base: Sample
    new: Sample
    outcome: Outcome
    why: str
    relative_difference: float
    interval: Interval | None = None
    bootstrap: Interval | None = None
    hedges_g: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    minimum_detectable: float | None = None
    hypothesis: int | None = None
    caution: str | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """A pair with what was found."""

    pair: Pair
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole comparison. ``threshold`` is the margin of equivalence as a fraction."""

    base: Tree
    new: Tree
    alpha: float
    threshold: float
    power: float
    hypotheses: int
    outcome: Outcome
    compared: tuple[Compared, ...]
    pairing: Pairing

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All figures' findings."""
        return tuple(finding for compared in self.compared for finding in compared.findings)
