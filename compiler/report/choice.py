"""Which reports a scenario wants: its ``[reports]`` as the plan has it. Absent means all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NAMES = {
    "page": ("status", "html"),
    "csv": ("csv",),
    "junit": ("junit",),
    "markdown": ("markdown",),
    "sweeps": ("dse", "sweeps"),
}
"""Reports, and the names of their tables: CloudAI's where it has one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is written. summary.json, verdicts and the manifest always are."""

    page: bool = True
    csv: bool = True
    junit: bool = True
    markdown: bool = True
    sweeps: bool = True


def chosen(plan: Mapping[str, Any]) -> Choice:
    """Returns the choice of a plan."""
    tables = plan.get("reports")
    if not isinstance(tables, dict):
        return Choice()
    off = {name for name, table in tables.items() if isinstance(table, dict) and table.get("enable") is False}
    return Choice(**{report: not off & set(names) for report, names in NAMES.items()})
