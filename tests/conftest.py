"""What tests of several areas need."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import hypothesis
import pytest

REPO = Path(__file__).resolve().parent.parent

# The same inputs in every run, however long one takes; `python -m tests.lint.fuzz` looks for new ones.
hypothesis.settings.register_profile(
    "tests",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("tests")

# As at a terminal: what a script starts with & ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def torch_python() -> Path:
    """The interpreter that has torch: DEEPEP_TORCH_PYTHON, or the repository's own; fails without."""
    python = Path(os.environ.get("DEEPEP_TORCH_PYTHON") or REPO / ".venv-torch" / "bin" / "python")
    found = python.is_file() and subprocess.run(
        [python, "-c", "import torch"], capture_output=True, check=False
    )
    if not found or found.returncode:
        pytest.fail(
            f"{python} is no interpreter with torch. Make one with `make .venv-torch/.done`, or name "
            "yours in DEEPEP_TORCH_PYTHON",
            pytrace=False,
        )
    return python
