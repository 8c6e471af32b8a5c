"""A comparison as JSON (schemas/comparison.schema.json)."""

from __future__ import annotations

from dataclasses import asdict

from compiler.compare.model import Comparison, Difference, Finding, Interval, Outcome, Sample, Series, Tree
from compiler.compare.wording import verdict_line

SCHEMA = 1


def to_json(comparison: Comparison) -> dict[str, object]:
    """Returns the comparison as the schema has it; what does not apply is null."""
    pairing = comparison.pairing
    outcomes = [finding.outcome for finding in comparison.findings]
    return {
        "schema": SCHEMA,
        "base": _tree(comparison.base),
        "new": _tree(comparison.new),
        "alpha": comparison.alpha,
        "threshold": comparison.threshold,
        "power": comparison.power,
        "hypotheses": comparison.hypotheses,
        "verdict": comparison.outcome.value,
        "text": verdict_line(comparison),
        "counts": {outcome.value: outcomes.count(outcome) for outcome in Outcome},
        "pairs": [
            {
                "label": compared.pair.base.label,
                "configuration": dict(compared.pair.base.configuration),
                "base": _series(compared.pair.base),
                "new": _series(compared.pair.new),
                "changed": _differences(compared.pair.changed),
                "cautions": list(compared.pair.cautions),
                "figures": [_finding(finding) for finding in compared.findings],
            }
            for compared in comparison.compared
        ],
        "refused": [
            {
                "base": _series(refused.base),
                "new": _series(refused.new),
                "reasons": _differences(refused.reasons),
            }
            for refused in pairing.refused
        ],
        "unpaired": [
            {"tree": one.side.value, "series": _series(one.series), "why": one.why}
            for one in pairing.unpaired
        ],
        "left_out": [
            {"tree": one.side.value, "run": one.run, "verdict": one.verdict, "why": one.why}
            for one in (*comparison.base.left_out, *comparison.new.left_out)
        ],
    }


def _tree(tree: Tree) -> dict[str, object]:
    return {
        "path": str(tree.path),
        "scenario": tree.scenario,
        "run_id": tree.run_id,
        "stamp": tree.stamp,
        "runs": tree.num_runs,
        "left_out": len(tree.left_out),
    }


def _series(series: Series) -> dict[str, object]:
    return {
        "label": series.label,
        "places": list(series.places),
        "runs": list(series.runs),
        "marks": list(series.marks),
    }


def _differences(differences: tuple[Difference, ...]) -> list[dict[str, str]]:
    return [asdict(difference) for difference in differences]


def _finding(finding: Finding) -> dict[str, object]:
    figure = finding.figure
    return {
        "figure": figure.key,
        "better": figure.better.value,
        "verdict": finding.outcome.value,
        "why": finding.why,
        "base": _sample(finding.base),
        "new": _sample(finding.new),
        "relative_difference": finding.relative_difference,
        "interval": _interval(finding.interval),
        "bootstrap": _interval(finding.bootstrap),
        "minimum_detectable": finding.minimum_detectable,
        "hedges_g": finding.hedges_g,
        "p_value": finding.p_value,
        "p_adjusted": finding.p_adjusted,
        "hypothesis": finding.hypothesis,
        "caution": finding.caution,
    }


def _sample(sample: Sample) -> dict[str, object]:
    return {
        "starts": len(sample.values),
        "values": list(sample.values),
        "geometric_mean": sample.geometric_mean,
        "cv": sample.cv,
    }


def _interval(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else asdict(interval)
