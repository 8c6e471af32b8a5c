"""One bundle that many tests look at, and none changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.emit.bundles import compile_to


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of ``golden/input``."""
    return compile_to(tmp_path_factory.mktemp("emit") / "bundle")
