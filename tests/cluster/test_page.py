"""docs/faults.md names tests that exist."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.page import ELSEWHERE


def test_faults_that_are_caused_elsewhere_are_caused_by_these_tests() -> None:
    for _, _, file, test in ELSEWHERE:
        assert f"def {test}(" in Path(__file__).with_name(file).read_text(), (file, test)
