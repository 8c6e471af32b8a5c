"""What tests of several areas need."""

from __future__ import annotations

import itertools
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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begins the share of each worker with its part of the long tests: xdist hands out equal shares in order,
    and steals from the end of the longest one.

    ``long("together")``: those of a module stay with one worker, since each would make their fixture anew.
    """
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    long: dict[str, list[pytest.Item]] = {}
    for item in items:
        if mark := item.get_closest_marker("long"):
            long.setdefault(item.path.as_posix() if mark.args else item.nodeid, []).append(item)
    others = iter([item for item in items if not item.get_closest_marker("long")])
    groups = list(long.values())
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        first = [item for group in groups[worker::workers] for item in group]
        share = (len(items) - len(ordered)) // (workers - worker)
        ordered += [*first, *itertools.islice(others, share - len(first))]
    items[:] = [*ordered, *others]


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
