"""Sentences about a comparison that all renderers share."""

from __future__ import annotations

from compiler.compare.model import Comparison, Difference, Finding, Outcome

_NAMED = 3


def verdict_line(comparison: Comparison) -> str:
    """Returns the verdict in one line, with the largest differences and what was not compared."""
    findings = comparison.findings
    aside = _aside(comparison)
    if not findings:
        return f"not compared: no configuration of BASE may be compared with one of NEW{aside}"
    outcomes = [finding.outcome for finding in findings]
    parts = [
        f"{outcomes.count(outcome)} {outcome}"
        for outcome in (Outcome.WORSE, Outcome.BETTER, Outcome.SAME, Outcome.INCONCLUSIVE)
        if outcome in outcomes
    ]
    return f"{comparison.outcome}: {', '.join(parts)} of {len(findings)} figures{_largest(comparison)}{aside}"


def _largest(comparison: Comparison) -> str:
    if comparison.outcome not in (Outcome.WORSE, Outcome.BETTER):
        return ""
    # One figure stands for all that ask the same question.
    questions: dict[int | None, tuple[str, Finding]] = {}
    for one in comparison.compared:
        for finding in one.findings:
            if finding.outcome is comparison.outcome:
                questions.setdefault(finding.hypothesis, (one.pair.base.label, finding))
    found = sorted(questions.values(), key=lambda item: -abs(item[1].relative_difference))
    named = [
        f"{label}: {finding.figure.title} {percent(finding.relative_difference)}"
        for label, finding in found[:_NAMED]
    ]
    more = len(found) - len(named)
    return f" ({'; '.join(named)}{f'; {more} more' if more else ''})"


def _aside(comparison: Comparison) -> str:
    pairing = comparison.pairing
    left_out = len(comparison.base.left_out) + len(comparison.new.left_out)
    counts = (
        (len(pairing.refused), "refused"),
        (len(pairing.unpaired), "unpaired"),
        (left_out, "run left out" if left_out == 1 else "runs left out"),
    )
    texts = [f"{number} {what}" for number, what in counts if number]
    return f"; {', '.join(texts)}" if texts else ""


def percent(fraction: float) -> str:
    """Returns a relative difference with its sign, or a factor where percents stop saying anything."""
    if fraction >= 9:
        return f"x{fraction + 1:.3g}"
    if fraction <= -0.9:
        return f"x{fraction + 1:.2g}"
    return f"{fraction:+.1%}" if abs(fraction) >= 0.00995 else f"{fraction:+.2%}"


def value(finding: Finding, geometric_mean: float) -> str:
    """Returns a figure's mean in its unit."""
    return f"{geometric_mean * finding.figure.scale:.4g} {finding.figure.unit}"


def interval(finding: Finding) -> str:
    """Returns the interval, or a dash."""
    found = finding.interval
    return "-" if found is None else f"{percent(found.low)} .. {percent(found.high)}"


def bootstrap(finding: Finding) -> str:
    """Returns the bootstrap interval, or a dash."""
    found = finding.bootstrap
    return "-" if found is None else f"{percent(found.low)} .. {percent(found.high)}"


def detectable(finding: Finding) -> str:
    """Returns the smallest difference that would have been found."""
    if finding.hypothesis is None:
        return "-"
    if finding.minimum_detectable is None:
        return "> x10"
    return percent(finding.minimum_detectable).lstrip("+")


def difference(found: Difference) -> str:
    """Returns one difference as ``what: base -> new``."""
    return f"{found.what}: {found.base} -> {found.new}"


def method(comparison: Comparison) -> str:
    """Returns what the numbers mean, in a sentence or two."""
    return (
        f"Unit: an independent start. Probability of any false alarm: at most {comparison.alpha:.0%} "
        f"({comparison.hypotheses} distinct questions, Holm). All intervals hold together with "
        f"{1 - comparison.alpha:.0%}, each bootstrap interval alone. Same: the interval lies within "
        f"{comparison.threshold:.1%} around no difference. Detectable: found with {comparison.power:.0%} "
        f"power at this spread."
    )
