"""Keys that the format has but that change nothing: said, never ignored in silence.

Which keys these are stands in the schemas (``x-no-effect``, with the reason). A value equal to the key's
default is not worth a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic, Place
from compiler.diagnostics.wording import bare
from compiler.rules.model import RawScenario, TestTable
from compiler.schema.store import properties


def keys(table: TestTable) -> Iterator[Diagnostic]:
    """Reports the keys of a test or an entry that have no effect."""
    for key, reason in _used(table.data, table.schema, table.pointer):
        yield _finding(key, reason, table.place(key, on_key=True))


def scenario_keys(scenario: RawScenario) -> Iterator[Diagnostic]:
    """Reports the keys of a scenario that have no effect."""
    yield from file_keys(scenario.file, scenario.data, "scenario")
    reports = scenario.data.get("reports")
    if isinstance(reports, dict):
        for key, reason in _used(reports, "common", "/$defs/reports"):
            yield _finding(f"reports.{key}", reason, Place(scenario.file, ("reports", key), on_key=True))


def file_keys(file: Path, data: Mapping[str, object], schema: str) -> Iterator[Diagnostic]:
    """Reports the top-level keys of a file that have no effect."""
    for key, reason in _used(data, schema, ""):
        yield _finding(key, reason, Place(file, (key,), on_key=True))


def _finding(key: str, reason: str, place: Place) -> Diagnostic:
    return finding("no-effect", f"{bare(key)} is accepted but has no effect: {reason}", place)


def _used(data: Mapping[str, object], schema: str, pointer: str) -> Iterator[tuple[str, str]]:
    idle = _idle(schema, pointer)
    if not idle.keys().isdisjoint(data):
        for key, (reason, default) in idle.items():
            if key in data and data[key] != default:
                yield key, reason


@cache
def _idle(schema: str, pointer: str) -> dict[str, tuple[str, object]]:
    return {
        key: (str(known["x-no-effect"]), known.get("default"))
        for key, known in properties(schema, pointer).items()
        if "x-no-effect" in known
    }
