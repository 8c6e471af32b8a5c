"""What the page says beyond the judge's summary, as JSON (``$defs/report`` of summary.schema.json)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compiler.report.model import Repeated, Session


def to_json(session: Session, comparison: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns how the hosts were before the runs, starts, spread, ratios, sweeps and the comparison."""
    return {
        "hosts_before": _before(session),
        "starts": [
            {
                "entry": point.entry,
                "values": dict(point.values),
                "runs": list(point.runs),
                "operations": [
                    {
                        "operation": one.name,
                        "backend": one.backend,
                        "baseline": one.baseline,
                        "marked": one.marked,
                        "figures": {key: _repeated(figure) for key, figure in one.figures.items()},
                    }
                    for one in point.operations
                ],
            }
            for point in session.repeated
        ],
        "spread": [
            {
                "run": fact.run,
                "operation": fact.operation,
                "ranks": fact.ranks,
                "median_s": fact.median_s,
                "mad_s": fact.mad_s,
                "outliers": [
                    {"role": one.role, "label": one.label, "relative": one.relative, "speed": one.speed}
                    for one in fact.outliers
                ],
            }
            for run in session.runs
            for fact in run.spread
        ],
        "ratios": [
            {
                "run": one.run,
                "operation": one.operation,
                "figure": one.figure,
                "value": one.value,
                "against": one.against,
                "expected": one.expected,
                "ratio": one.ratio,
                "outcome": one.outcome,
                "source": one.source,
            }
            for run in session.runs
            for one in run.ratios
        ],
        "sweeps": [
            {
                "entry": sweep.entry,
                "keys": list(sweep.keys),
                "points": [
                    {
                        "values": dict(point.values),
                        "runs": list(point.runs),
                        "figures": [
                            {
                                "operation": one.operation,
                                "global_bw": one.global_bw,
                                "deepep_time": one.deepep_time,
                                "starts": one.starts,
                                "cv": one.time.cv if one.time else None,
                                "interval": _interval(one.time),
                                "best": one.best,
                            }
                            for one in point.figures
                        ],
                    }
                    for point in sweep.points
                ],
            }
            for sweep in session.sweeps
        ],
        "comparison": dict(comparison) if comparison is not None else None,
    }


def _repeated(figure: Repeated) -> dict[str, Any]:
    return {
        "starts": figure.starts,
        "median": figure.median,
        "cv": figure.cv,
        "interval": _interval(figure),
        "why": figure.why or None,
    }


def _interval(figure: Repeated | None) -> list[float] | None:
    return list(figure.interval) if figure and figure.interval else None


def _before(session: Session) -> dict[str, Any]:
    """Returns what was wrong with hosts before the runs: preflight.json and selftest.json have the rest."""
    return {
        "preflight": None
        if session.preflight is None
        else [
            {
                "result": one.result,
                "check": one.check,
                "hosts": one.hosts,
                "text": one.text,
                "remedy": one.remedy,
            }
            for one in session.preflight.troubles
        ],
        "selftest": None
        if session.selftest is None
        else [
            {
                "host": tested.host,
                "reason": tested.reason or None,
                "outliers": {
                    name: {"is": time.outlier, "relative": time.relative}
                    for name, time in tested.outliers.items()
                },
            }
            for tested in session.selftest.troubles
        ],
    }
