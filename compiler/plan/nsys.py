"""``nsys``: the words that stand before a program, from the test's table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import cast

from compiler.plan.model import Join, Text, Variable

_OPTIONS = {
    "sample": "--sample",
    "trace": "--trace",
    "capture_range": "--capture-range",
    "capture_range_end": "--capture-range-end",
    "cuda_graph_trace": "--cuda-graph-trace",
    "gpu_metrics_devices": "--gpu-metrics-devices",
}
"""Key of the table -> option of nsys; the others have a place of their own."""


def of_ranks(table: object) -> tuple[Text, ...]:
    """Returns what to put before a rank's command; nothing where the test is not profiled.

    Each rank writes ``traces/<output>-<rank>.nsys-rep`` (nsys replaces ``%q{RANK}``), which is fetched with
    the run's files. ``output`` gives the name alone: elsewhere nobody would find it.
    """
    return _words(table, "%q{RANK}")


def of_host(table: object) -> tuple[Text, ...]:
    """As of_ranks, for a program that spawns its ranks itself: one report per host (``%h``)."""
    return _words(table, "%h")


def _words(table: object, part: str) -> tuple[Text, ...]:
    if not isinstance(table, Mapping) or not table.get("enable", True):
        return ()
    given = cast("Mapping[str, object]", table)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", str(given.get("output", "nsys")).rsplit("/", 1)[-1]) or "nsys"
    overwrite = "true" if given.get("force_overwrite", True) else "false"
    # By default nsys would end the program with the range, before it has written its results.
    ranged = given.get("capture_range", "none") != "none" and "capture_range_end" not in given
    return (
        str(given.get("nsys_binary", "nsys")),
        str(given.get("task", "profile")),
        Join(("--output=", Variable.RUN_DIR, f"/traces/{name}-{part}")),
        f"--force-overwrite={overwrite}",
        *(f"{option}={given[key]}" for key, option in _OPTIONS.items() if key in given),
        *(("--capture-range-end=stop",) if ranged else ()),
        *(str(word) for word in cast("Sequence[object]", given.get("extra_args", ()))),
    )
