"""What a scenario's ``[reports.reference]`` asks for: figures that its tests are held to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compiler.reference.load import read_references, shipped

TABLE = "reference"


def wanted(reports: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """Returns ``references`` of plan.json, None where the scenario does not ask for it.

    ``[reports.reference] fail = true`` holds every test to the values that are shipped and to those of
    ``files``, paths relative to ``folder``. Raises UnusableReferencesError.
    """
    table = reports.get(TABLE)
    if not isinstance(table, Mapping) or table.get("fail") is not True:
        return None
    files = [folder / str(path) for path in table.get("files") or []]
    return {"fail": True, "values": read_references([*shipped(), *files])}
