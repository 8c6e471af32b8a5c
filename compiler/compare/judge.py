"""From two trees to a :class:`Comparison`: pairs, tests every figure, corrects for their number, decides."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from compiler.compare import inference
from compiler.compare.figures import COMPARED, Better, Figure
from compiler.compare.inference import Array, Estimate
from compiler.compare.labels import with_labels
from compiler.compare.model import (
    Compared,
    Comparison,
    Finding,
    Interval,
    Outcome,
    Pair,
    Sample,
    Series,
    Tree,
)
from compiler.compare.pairing import pair_trees

_RECIPROCAL = 1e-6
"""Figures whose logarithms agree this far, but for sign and a constant, are one question."""

_CAUTION = (
    f"one tree varies far more than {inference.MAX_NOISE_RATIO:g} times as much as the other: the promised "
    "error rate does not hold here, look at the starts one by one"
)


@dataclass(frozen=True, slots=True)
class _Question:
    """One figure of one pair: values and their logarithms. ``found`` is None where nothing can be tested."""

    pair: int
    figure: Figure
    base_values: tuple[float, ...]
    new_values: tuple[float, ...]
    base: Array
    new: Array
    found: Estimate | None
    why_not: str


def compare(base: Tree, new: Tree, *, alpha: float, threshold: float) -> Comparison:
    """Compares all figures of two trees.

    ``alpha`` bounds the probability of any false alarm in the whole comparison, ``threshold`` (a fraction) is
    the relative difference that does not matter.
    """
    base, new = with_labels(base, new)
    pairing = pair_trees(base, new)
    questions = [
        question for number, pair in enumerate(pairing.pairs) for question in _questions(number, pair)
    ]
    hypotheses = _hypotheses(questions)
    number = max(hypotheses, default=0)
    first = [hypotheses.index(one) for one in range(1, number + 1)]
    p_values = np.array([inference.p_value(_found(questions[index])) for index in first], dtype=float)
    adjusted = inference.holm(p_values) if number else p_values
    margin = math.log1p(threshold)
    findings: list[list[Finding]] = [[] for _ in pairing.pairs]
    for question, hypothesis in zip(questions, hypotheses, strict=True):
        p_adjusted = float(adjusted[hypothesis - 1]) if hypothesis else None
        findings[question.pair].append(
            _finding(question, hypothesis or None, p_adjusted, number, alpha=alpha, margin=margin)
        )
    return Comparison(
        base=base,
        new=new,
        alpha=alpha,
        threshold=threshold,
        power=inference.POWER,
        hypotheses=number,
        outcome=overall(finding.outcome for found in findings for finding in found),
        compared=tuple(
            Compared(pair, tuple(found)) for pair, found in zip(pairing.pairs, findings, strict=True)
        ),
        pairing=pairing,
    )


def overall(outcomes: Iterable[Outcome]) -> Outcome:
    """Returns one outcome for all: a regression outweighs everything, doubt outweighs ``same``."""
    found = set(outcomes)
    for outcome in (Outcome.WORSE, Outcome.BETTER, Outcome.INCONCLUSIVE):
        if outcome in found:
            return outcome
    return Outcome.SAME if found else Outcome.INCONCLUSIVE


def _questions(number: int, pair: Pair) -> list[_Question]:
    from deepep_host.judge.figures import AS_TESTED

    questions = []
    for figure in COMPARED:
        if figure.key in AS_TESTED and not pair.one_method:
            continue
        base_values, new_values = _values(pair.base, figure), _values(pair.new, figure)
        base, new = np.log(base_values), np.log(new_values)
        if not base.size or not new.size:
            continue
        found, why_not = None, ""
        if min(base.size, new.size) < 2:
            sides = [name for name, values in (("BASE", base), ("NEW", new)) if values.size < 2]
            why_not = f"{' and '.join(sides)}: one start says nothing about the spread between starts"
        elif not inference.varies(base) and not inference.varies(new):
            why_not = "all starts of a tree give the very same value: these are no independent measurements"
        else:
            found = inference.estimate(base, new)
        questions.append(_Question(number, figure, base_values, new_values, base, new, found, why_not))
    return questions


def _hypotheses(questions: Sequence[_Question]) -> list[int]:
    """Numbers the distinct questions from 1, 0 for what cannot be tested.

    Bandwidth is bytes over time: with the same bytes in all starts it asks what the time asks already.
    """
    numbers: list[int] = []
    last = 0
    for index, question in enumerate(questions):
        if question.found is None:
            numbers.append(0)
            continue
        twins = [
            numbers[before]
            for before in range(index)
            if numbers[before]
            and questions[before].pair == question.pair
            and _twins(questions[before], question)
        ]
        last += not twins
        numbers.append(twins[0] if twins else last)
    return numbers


def _twins(one: _Question, other: _Question) -> bool:
    if one.base.size != other.base.size or one.new.size != other.new.size:
        return False
    first, second = (np.concatenate((question.base, question.new)) for question in (one, other))
    first, second = first - first.mean(), second - second.mean()
    return bool(min(np.max(np.abs(first - second)), np.max(np.abs(first + second))) < _RECIPROCAL)


def _found(question: _Question) -> Estimate:
    assert question.found is not None  # noqa: S101 - only testable questions have a hypothesis
    return question.found


def _finding(
    question: _Question,
    hypothesis: int | None,
    p_adjusted: float | None,
    number: int,
    *,
    alpha: float,
    margin: float,
) -> Finding:
    difference = float(np.mean(question.new) - np.mean(question.base))
    base, new = _sample(question.base_values, question.base), _sample(question.new_values, question.new)
    relative = math.expm1(difference)
    if question.found is None or p_adjusted is None:
        return Finding(question.figure, base, new, Outcome.INCONCLUSIVE, question.why_not, relative)
    found = question.found
    level = alpha / number
    half = float(inference.half_width(found, level))
    sign = 1.0 if question.figure.better is Better.HIGHER else -1.0
    decided = inference.decide(
        np.array([sign * difference]), np.array([half]), np.array([p_adjusted]), alpha, margin
    )
    outcome = Outcome(decided[0])
    bootstrap = inference.bootstrap_t(question.base, question.new, alpha)
    detectable = inference.minimum_detectable(found, level)
    return Finding(
        figure=question.figure,
        base=base,
        new=new,
        outcome=outcome,
        why=_why(outcome, p_adjusted <= alpha),
        relative_difference=relative,
        interval=_interval(difference - half, difference + half, 1 - level),
        bootstrap=None if bootstrap is None else _interval(*bootstrap, 1 - alpha),
        hedges_g=inference.hedges_g(question.base, question.new),
        p_value=float(inference.p_value(found)),
        p_adjusted=p_adjusted,
        minimum_detectable=None if detectable is None else math.expm1(detectable),
        hypothesis=hypothesis,
        caution=_CAUTION if inference.noise_differs(found) else None,
    )


def _why(outcome: Outcome, differs: bool) -> str:
    match outcome:
        case Outcome.SAME if differs:
            return "there is a difference, but it lies within the threshold"
        case Outcome.SAME:
            return "the whole interval lies within the threshold"
        case Outcome.INCONCLUSIVE:
            return "neither a difference nor its absence is shown"
        case _:
            return "the difference is more than the spread between starts explains"


def _values(series: Series, figure: Figure) -> tuple[float, ...]:
    return tuple(start.figures[figure.key] for start in series.starts if figure.key in start.figures)


def _sample(values: tuple[float, ...], logs: Array) -> Sample:
    return Sample(
        values=values,
        geometric_mean=float(np.exp(np.mean(logs))),
        cv=inference.coefficient_of_variation(logs),
    )


def _interval(low: float, high: float, level: float) -> Interval:
    return Interval(_expm1(low), _expm1(high), level)


def _expm1(value: float) -> float:
    return math.expm1(max(min(value, 700.0), -700.0))
