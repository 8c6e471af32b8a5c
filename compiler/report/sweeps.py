"""Figures over swept arguments: one table for each entry that sweeps."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from statistics import median

from compiler.report.model import Run, Sweep, SweepPoint, SweptFigure


def find_sweeps(runs: Sequence[Run]) -> list[Sweep]:
    """Returns the sweeps in the order of the plan; repetitions of a point are taken together."""
    entries: dict[str, list[Run]] = {}
    for run in runs:
        if run.sweep:
            entries.setdefault(run.entry, []).append(run)
    return [_sweep(entry, found) for entry, found in entries.items() if len(found) > 1]


def _sweep(entry: str, runs: Sequence[Run]) -> Sweep:
    points: dict[str, list[Run]] = {}
    for run in runs:
        points.setdefault(json.dumps(run.sweep, sort_keys=True), []).append(run)
    operations = dict.fromkeys(record.name for run in runs for record in run.records)
    rows = [[_figure(name, found) for name in operations] for found in points.values()]
    best = {
        name: max(values)
        for column, name in enumerate(operations)
        if (values := [bw for row in rows if (bw := row[column].global_bw) is not None])
    }
    keys = dict.fromkeys(key for run in runs for key in run.sweep)
    return Sweep(
        entry=entry,
        anchor=f"sweep-{entry}",
        test_name=runs[0].test_name,
        keys=list(keys),
        points=[
            SweepPoint(
                values={key: _value(found[0].sweep.get(key, "")) for key in keys},
                runs=[run.id for run in found],
                anchor=found[0].anchor,
                figures=[
                    SweptFigure(
                        one.operation, one.global_bw, one.deepep_time, one.starts,
                        one.global_bw is not None and one.global_bw == best.get(one.operation),
                    )
                    for one in row
                ],
            )
            for found, row in zip(points.values(), rows, strict=True)
        ],
    )  # fmt: skip


def _figure(operation: str, runs: Sequence[Run]) -> SweptFigure:
    records = [record for run in runs if run.counts for record in run.records if record.name == operation]
    bandwidths = [record.global_bw for record in records if record.global_bw is not None]
    times = [record.deepep_time for record in records if record.deepep_time is not None]
    return SweptFigure(
        operation,
        median(bandwidths) if bandwidths else None,
        median(times) if times else None,
        len(times),
        best=False,
    )


def _value(text: str) -> str | float:
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number


def to_csv(sweeps: Sequence[Sweep]) -> str:
    """Returns all sweeps as one CSV: a line per point and operation, a column per swept key."""
    keys = list(dict.fromkeys(key for sweep in sweeps for key in sweep.keys))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(
        ["entry", *keys, "operation", "global_bw_gb_s", "deepep_time_s", "starts", "best", "runs"]
    )
    for sweep in sweeps:
        for point in sweep.points:
            for one in point.figures:
                figures = ("" if v is None else repr(v) for v in (one.global_bw, one.deepep_time))
                values = (_cell(point.values.get(key, "")) for key in keys)
                runs = " ".join(point.runs)
                best = "true" if one.best else "false"
                writer.writerow(
                    [_cell(sweep.entry), *values, _cell(one.operation), *figures, one.starts, best, runs]
                )
    return out.getvalue()


def _cell(value: str | float) -> str:
    text = str(value)
    # A spreadsheet would run a text that begins like a formula.
    return "'" + text if isinstance(value, str) and text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
