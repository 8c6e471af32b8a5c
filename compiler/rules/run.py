"""Runs the rules of :mod:`compiler.rules.table`."""

from __future__ import annotations

from collections.abc import Iterable

from compiler.diagnostics.model import Diagnostic, Place
from compiler.rules.model import RawScenario, TestTable
from compiler.scenario.model import Entry


def check_table(table: TestTable) -> list[Diagnostic]:
    """Returns the findings in one test file or entry by itself."""
    from compiler.rules.table import TABLE_RULES

    return [one for rule in TABLE_RULES for one in rule(table)]


def check_scenario(scenario: RawScenario) -> list[Diagnostic]:
    """Returns the findings across a scenario's entries and its tests."""
    from compiler.rules.table import SCENARIO_RULES

    return [one for rule in SCENARIO_RULES for one in rule(scenario)]


def check_cases(entry: Entry) -> list[Diagnostic]:
    """Returns the findings in an entry's cases, each code once per place."""
    from compiler.rules.table import CASE_RULES

    return _once(one for case in entry.cases for rule in CASE_RULES for one in rule(entry, case))


def _once(found: Iterable[Diagnostic]) -> list[Diagnostic]:
    first: dict[tuple[str, Place | None], Diagnostic] = {}
    for one in found:
        first.setdefault((one.code, one.place), one)
    return list(first.values())
