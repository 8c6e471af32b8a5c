"""Which reports of a result tree are written: the plan's ``reports``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Choice(NamedTuple):
    """What is written. summary.json, verdicts and the manifest always are."""

    page: bool = True
    csv: bool = True
    junit: bool = True
    markdown: bool = True
    sweeps: bool = True
    archive: bool = False


def chosen(plan: Mapping[str, Any]) -> Choice:
    """Returns the choice of a plan; what an older plan does not say is as where a scenario says nothing."""
    said = plan.get("reports")
    if not isinstance(said, dict):
        return Choice()
    return Choice()._replace(**{name: said[name] is True for name in Choice._fields if name in said})
