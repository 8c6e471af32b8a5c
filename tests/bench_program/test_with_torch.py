"""Runs the unit tests that need torch (with_torch/) with the interpreter that has it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.bench_program.launch import PROGRAM

FOLDER = Path(__file__).parent / "with_torch"
FILES = sorted(path.stem for path in FOLDER.glob("unit_*.py"))


def test_there_are_unit_tests() -> None:
    assert FILES


@pytest.mark.parametrize("name", FILES)
def test_units(torch_python: Path, name: str) -> None:
    done = subprocess.run(
        [torch_python, "-m", "unittest", "-v", name],
        cwd=FOLDER,
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 0 tests" not in done.stderr
