"""Made-up result trees for comparisons: the judge's own builder, with figures set start by start.

Every figure here is invented.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compiler.resources import host_code
from tests.judge.tree import change_json, make_run, make_session, result_dir, write, write_tree

Run = dict[str, Any]
Change = Callable[[Run], object]


def times(median_s: float, cv: float, starts: int, seed: int) -> list[float]:
    """Returns log-normal times of independent starts, in seconds."""
    rng = np.random.default_rng(seed)
    return [float(one) for one in median_s * np.exp(cv * rng.standard_normal(starts))]


def spaced(median_s: float, cv: float, starts: int) -> list[float]:
    """Returns times with exactly this geometric mean and log standard deviation, in seconds."""
    steps = np.linspace(-1.0, 1.0, starts)
    return [float(one) for one in median_s * np.exp(cv * steps / np.std(steps, ddof=1))]


def make_tree(
    top: Path,
    entries: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    session: str,
    change_run: Change | None = None,
    change_record: Change | None = None,
) -> Path:
    """Writes a tree and judges it with the real judge.

    ``entries``: entry id -> operation -> times in seconds, one per iteration. ``change_run`` alters each run
    of the plan before it is written, ``change_record`` each record afterwards; ``session`` is the run id.
    """
    host_code()
    from deepep_host.judge import judge_session

    runs = []
    for entry, operations in entries.items():
        for iteration in range(len(next(iter(operations.values())))):
            run = make_run(f"{entry}/{iteration}")
            run["expect"]["operations"] = list(operations)
            if change_run is not None:
                change_run(run)
            runs.append(run)
    write_tree(top, runs)
    write(top / "run.json", make_session() | {"run_id": session})
    for run in runs:

        def change(records: list[Run], run: Run = run) -> None:
            for record in records:
                seconds = entries[run["entry"]][record["operation"]][run["iteration"]]
                _scale(record, seconds)
                if change_record is not None:
                    change_record(record)

        change_json(top / run["id"] / result_dir(run) / "results.json", change)
    judge_session(top)
    return top


def scale_records(path: Path, factor: float) -> None:
    """Makes all records of a results.json this much slower."""

    def change(records: list[Run]) -> None:
        for record in records:
            _scale(record, record["deepep_time"] * factor)

    change_json(path, change)


def _scale(record: Run, seconds: float) -> None:
    factor = seconds / record["deepep_time"]
    record["deepep_time"] = seconds
    record["total_time"] *= factor
    record["global_bw"] = record["bytes"]["global"] / seconds / 1e9
    for key, value in record["time_s"].items():
        record["time_s"][key] = [one * factor for one in value] if isinstance(value, list) else value * factor
    for rank in record["per_rank"]:
        for key in ("mean_s", "median_s", "min_s", "max_s"):
            rank[key] *= factor


def verdicts(comparison: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """Returns the verdict by operation and figure of a comparison as JSON."""
    return {
        (pair["configuration"]["operation"], figure["figure"]): figure["verdict"]
        for pair in comparison["pairs"]
        for figure in pair["figures"]
    }


def load(text: str) -> Any:
    """Returns the JSON value; NaN and infinities are no JSON."""

    def refuse(name: str) -> float:
        raise ValueError(f"{name} is no JSON")

    value = json.loads(text, parse_constant=refuse)
    assert not isinstance(value, float) or math.isfinite(value)
    return value
