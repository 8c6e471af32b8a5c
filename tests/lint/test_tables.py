"""The cases of tests/cases/tables: every error and warning is expected, at the marked place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compiler.diagnostics.codes import all_codes
from compiler.diagnostics.model import Severity
from compiler.diagnostics.story import examples
from tests.conftest import REPO
from tests.lint import pieces

CASES = [
    pytest.param(case, id=f"{path.stem}-{case['name']}")
    for path in sorted((REPO / "tests" / "cases" / "tables").glob("*.toml"))
    for case in pieces.tables(path)
]


@pytest.mark.parametrize("case", CASES)
def test_table(case: dict[str, Any], tmp_path: Path) -> None:
    found, rows, marks = pieces.run(tmp_path, case)
    expected = marks + [(code, "", None, None) for code in case.get("also", ())]
    expected += [tuple(row) for row in case.get("also_at", ())]
    codes = {row[0] for row in expected}
    told = [
        row
        for row, one in zip(rows, found, strict=True)
        if one.severity is not Severity.INFO or row[0] in codes
    ]
    assert sorted(told, key=str) == sorted(expected, key=str), [one.message for one in found]


def test_there_are_enough_cases_and_every_code_has_one() -> None:
    assert len(CASES) >= 150
    marked = {row[0] for param in CASES for row in _marks(param.values[0])} | {
        code for param in CASES for code in param.values[0].get("also", ())
    }
    marked |= {row[0] for param in CASES for row in param.values[0].get("also_at", ())}
    told = {code.code for code in all_codes() if "said" in getattr(examples().get(code.slug), "bad", {})}
    assert {code.code for code in all_codes()} - told - marked == set()


def _marks(case: dict[str, Any]) -> list[tuple[str]]:
    text = "".join(pieces.files(case).values())
    return [(f"DEP{found[1]}",) for found in pieces.ANY_MARK.finditer(text) if found[1]]
