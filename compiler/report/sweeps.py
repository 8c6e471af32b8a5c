"""Figures over swept arguments: one table for each entry that sweeps."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from compiler.report.model import Operation, Point, Repeated, Sweep, SweepPoint, SweptFigure


def find_sweeps(points: Sequence[Point]) -> list[Sweep]:
    """Returns the sweeps in the order of the plan."""
    entries: dict[str, list[Point]] = {}
    for point in points:
        if point.values:
            entries.setdefault(point.entry, []).append(point)
    return [
        _sweep(entry, found)
        for entry, found in entries.items()
        if sum(len(point.runs) for point in found) > 1
    ]


def _sweep(entry: str, points: Sequence[Point]) -> Sweep:
    names = list(dict.fromkeys(one.name for point in points for one in point.operations))
    rows = [[_of(point, name) for name in names] for point in points]
    best = [
        max((one.bandwidth for row in rows if (one := row[column]).bandwidth is not None), default=None)
        for column in range(len(names))
    ]
    keys = dict.fromkeys(key for point in points for key in point.values)
    return Sweep(
        entry=entry,
        anchor=f"sweep-{entry}",
        test_name=points[0].test_name,
        keys=list(keys),
        points=[
            SweepPoint(
                values={key: point.values.get(key, "") for key in keys},
                runs=point.runs,
                anchor=point.anchor,
                figures=[
                    SweptFigure(
                        operation=name,
                        bandwidth=one.figures.get("global_bw"),
                        time=one.figures.get("deepep_time"),
                        marked=one.marked,
                        best=one.bandwidth is not None and one.bandwidth == best[column],
                    )
                    for column, (name, one) in enumerate(zip(names, row, strict=True))
                ],
            )
            for point, row in zip(points, rows, strict=True)
        ],
    )


def _of(point: Point, name: str) -> Operation:
    return next((one for one in point.operations if one.name == name), Operation(name, "", False, 0, {}))


_SPREAD = ("cv", "deepep_time_low_s", "deepep_time_high_s")


def to_csv(sweeps: Sequence[Sweep]) -> str:
    """Returns all sweeps as one CSV: a line per point and operation, a column per swept key."""
    keys = list(dict.fromkeys(key for sweep in sweeps for key in sweep.keys))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(
        ["entry", *keys, "operation", "global_bw_gb_s", "deepep_time_s", "starts", *_SPREAD, "best", "runs"]
    )
    for sweep in sweeps:
        for point in sweep.points:
            for one in point.figures:
                figures = ("" if v is None else repr(v) for v in (one.global_bw, one.deepep_time))
                values = (_cell(point.values.get(key, "")) for key in keys)
                runs = " ".join(point.runs)
                best = "true" if one.best else "false"
                writer.writerow(
                    [_cell(sweep.entry), *values, _cell(one.operation), *figures, one.starts,
                     *_spread(one.time), best, runs]
                )  # fmt: skip
    return out.getvalue()


def _spread(time: Repeated | None) -> list[str]:
    ends = (time.interval if time else None) or (None, None)
    return ["" if value is None else repr(value) for value in (time.cv if time else None, *ends)]


def _cell(value: str | float) -> str:
    text = str(value)
    # A spreadsheet would run a text that begins like a formula.
    return "'" + text if isinstance(value, str) and text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
