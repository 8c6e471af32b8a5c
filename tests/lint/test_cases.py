"""Sample folders below tests/cases: each gets what its case.json says, at the right place, in good words.

``expected.txt`` is what a user sees. To write them anew after a change of wording:
``UPDATE_EXPECTED=1 python -m pytest tests/lint/test_cases.py``, then read the difference.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPO

CASES = REPO / "tests" / "cases"
NAMES = sorted(path.parent.name for path in CASES.glob("*/case.json"))

PLACES: dict[str, list[tuple[str, str, int, int]]] = {
    "00-valid": [("DEP701", "tests/deepep.toml", 6, 20)],
    "01-syntax-error": [("DEP103", "tests/deepep.toml", 7, 17)],
    "03-unknown-cmd-arg": [("DEP105", "tests/deepep.toml", 9, 1)],
    "05-bad-mode": [("DEP108", "tests/deepep.toml", 7, 8)],
    "07-topk-gt-experts": [("DEP701", "tests/deepep.toml", 6, 20), ("DEP302", "tests/deepep.toml", 10, 12)],
    "09-unknown-test-name": [("DEP201", "scenario.toml", 5, 13), ("DEP701", "tests/deepep.toml", 6, 20)],
    "10-dependency-cycle": [("DEP220", "scenario.toml", 3, 1), ("DEP207", "scenario.toml", 9, 8)],
    "13-bad-time-limit": [("DEP218", "scenario.toml", 7, 14)],
    "15-unknown-group": [("DEP607", "scenario.toml", 6, 10)],
    "16-not-utf8": [("DEP102", "tests/deepep.toml", 2, 26)],
    "20-duplicate-test-name": [
        ("DEP202", "tests/deepep.toml", 1, 8),
        ("DEP202", "tests/deepep_copy.toml", 1, 8),
    ],
    "35-id-path-traversal": [("DEP204", "scenario.toml", 4, 6)],
    "36-shell-in-env": [("DEP701", "tests/deepep.toml", 6, 20), ("DEP402", "tests/deepep.toml", 17, 8)],
}


def lint(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "compiler", "lint", name, *options],
        cwd=CASES,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.parametrize("name", NAMES)
def test_case(name: str) -> None:
    case = json.loads((CASES / name / "case.json").read_text(encoding="utf-8"))
    shown = lint(name)
    assert shown.stderr == ""
    assert shown.returncode == (1 if case["expect"] == "reject" else 0)
    if case["offending_file"]:
        assert f"--> {name}/{case['offending_file']}:" in shown.stdout
        assert case["needle"] in shown.stdout
    golden = CASES / name / "expected.txt"
    if os.environ.get("UPDATE_EXPECTED"):
        golden.write_text(shown.stdout, encoding="utf-8")
    assert shown.stdout == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_places(name: str) -> None:
    found = json.loads(lint(name, "--format", "json").stdout)["diagnostics"]
    told = [one for one in found if one["severity"] != "info"]
    assert [(one["code"], one["file"], one["line"], one["column"]) for one in told] == [
        (code, f"{name}/{file}", line, column) for code, file, line, column in PLACES[name]
    ]
