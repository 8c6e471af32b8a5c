"""Independent starts: runs of one entry and one point of its sweep differ only by the start."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from statistics import median

from compiler.compare.figures import FIGURES
from compiler.report.model import Operation, Point, Repeated, Run

LEVEL = 0.05
"""Error of an interval."""


def find_points(runs: Sequence[Run]) -> list[Point]:
    """Returns every entry and point once, in the order of the plan, with what its starts gave."""
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        # What is below one folder of a foreign tree need not be of one configuration.
        settings = tuple((one.name, one.value) for one in run.settings)
        key = (run.entry, json.dumps(run.sweep, sort_keys=True), run.backend, run.world_size, settings)
        groups.setdefault(key, []).append(run)
    return [_point(found) for found in groups.values()]


def _point(runs: Sequence[Run]) -> Point:
    first = runs[0]
    known = dict.fromkeys((record.name, record.backend) for run in runs for record in run.records)
    counting = [run for run in runs if run.counts]
    return Point(
        entry=first.entry,
        test_name=first.test_name,
        values={key: _value(text) for key, text in first.sweep.items()},
        runs=[run.id for run in runs],
        anchor=first.anchor,
        operations=[_operation(name, backend, counting) for name, backend in known],
    )


def _operation(name: str, backend: str, runs: Sequence[Run]) -> Operation:
    records = [
        record for run in runs for record in run.records if (record.name, record.backend) == (name, backend)
    ]
    figures = {}
    for figure in FIGURES:
        values = [value for record in records if (value := getattr(record, figure.key)) and value > 0]
        if values:
            figures[figure.key] = repeated(values)
    return Operation(
        name=name,
        backend=backend,
        baseline=any(record.baseline for record in records),
        marked=sum(1 for record in records if record.marks),
        figures=figures,
    )


def repeated(values: Sequence[float]) -> Repeated:
    """Returns how a figure varies between starts; an interval only where so few of them can give one."""
    if len(values) == 1:
        return Repeated(median(values), 1, None, None, "one start says nothing about the spread")
    # numpy and scipy take long to import: only a tree with repetitions pays for them.
    import numpy as np

    from compiler.compare import inference

    logs = np.log(values)
    cv = inference.coefficient_of_variation(logs)
    if not inference.varies(logs):
        return Repeated(median(values), len(values), cv, None, "all starts give the very same value")
    found = inference.bootstrap_mean(logs, LEVEL)
    if found is None:
        why = f"an interval needs {inference.MIN_BOOTSTRAP} starts"
        return Repeated(median(values), len(values), cv, None, why)
    low, high = (math.exp(end) for end in found)
    return Repeated(median(values), len(values), cv, (low, high), "")


def _value(text: str) -> str | float:
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number
