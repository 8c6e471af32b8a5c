"""Runs the unit tests that need torch (with_torch/) with the interpreter that has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench_program.launch import PROGRAM, clean_environment
from tests.bench_program.processes import Forked

FOLDER = Path(__file__).parent / "with_torch"
FILES = sorted(path.stem for path in FOLDER.glob("unit_*.py"))


def test_there_are_unit_tests() -> None:
    assert FILES


@pytest.mark.parametrize("name", FILES)
def test_units(forked: Forked, tmp_path: Path, name: str) -> None:
    environment = {**clean_environment(), "PYTHONPATH": str(PROGRAM.parent)}
    process = forked.start("unittest", [str(FOLDER), name], environment, tmp_path / "output.txt")
    code = process.wait(timeout=600)
    text = (tmp_path / "output.txt").read_text()
    assert code == 0, text
    assert "Ran " in text
    assert "Ran 0 tests" not in text
