"""The summary as CSV: one line per run and operation."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

COLUMNS = (
    "run",
    "verdict",
    "test_name",
    "mode",
    "program",
    "backend",
    "stand_in",
    "hosts",
    "world_size",
    "sweep",
    "operation",
    "variant",
    "baseline",
    "global_bw_gb_s",
    "deepep_time_s",
    "simple_nvl_bw_gb_s",
    "simple_rdma_bw_gb_s",
    "total_time_s",
    "kernel_time_s",
    "timing",
    "counting",
    "data_type",
    "num_tokens",
    "hidden",
    "num_iterations",
    "num_warmups",
    "reason",
)
_UNITS = ("_gb_s", "_s")


def render_csv(summary: Mapping[str, Any]) -> str:
    """Returns the summary's runs as CSV with a header; a run without records has one line without figures.

    A value that does not apply is an empty field, never 0.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for run in summary["runs"]:
        for operation in run["operations"] or [{}]:
            values = {
                **run,
                **operation,
                "backend": operation.get("backend") or run["backend"],
                "stand_in": run["stand_in"],
                "hosts": " ".join(run["hosts"]),
                "sweep": json.dumps(run["sweep"], ensure_ascii=False) if run["sweep"] else "",
                "reason": run["reasons"][0]["text"] if run["reasons"] else "",
            }
            writer.writerow([_cell(values.get(_key(column))) for column in COLUMNS])
    return out.getvalue()


def _key(column: str) -> str:
    for unit in _UNITS:
        if column.endswith(unit):
            return column[: -len(unit)]
    return column


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    # A spreadsheet would run a text that begins like a formula.
    return "'" + text if isinstance(value, str) and text[:1] in "=+-@\t\r" and text else text
