from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench_program.launch import PROGRAM
from tests.bench_program.processes import Afresh, Forked

sys.path.insert(0, str(PROGRAM.parent))


@pytest.fixture(scope="session")
def forked(torch_python: Path) -> Iterator[Forked]:
    """Starts processes without importing torch again."""
    starter = Forked(torch_python)
    yield starter
    starter.close()


@pytest.fixture(scope="session")
def afresh(torch_python: Path) -> Afresh:
    """Starts processes as on hosts."""
    return Afresh(torch_python)
