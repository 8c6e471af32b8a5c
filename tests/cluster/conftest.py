"""Fixtures of tests on a cluster. A machine that cannot run one skips them; with CI=true they fail."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cluster.lab import Lab, why_not


def need_lab() -> None:
    """Skips the test where no lab can run, or fails it in CI."""
    reason = why_not()
    if reason:
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(f"CI must run the tests on a cluster: {reason}", pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def lab_of_session() -> Iterator[Lab]:
    """One lab per test process: four hosts, a jump host, a registry."""
    need_lab()
    with Lab(4, jump=True, registry=True) as lab:
        yield lab


@pytest.fixture
def lab(lab_of_session: Lab) -> Iterator[Lab]:
    """The lab, with every host as new where the test before left one otherwise."""
    lab_of_session.repair()
    yield lab_of_session
