"""Scenarios small enough for a CPU, and the command line as a user has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
COMPILER = str(Path(sys.executable).with_name("deepep-compiler"))

TEST = """name = "{name}"
description = "{name}"
test_template_name = "DeepEPBenchmark"

[cmd_args]
mode = "{mode}"
tokens = 32
num_experts = 16
num_topk = 4
hidden_size = 256
num_warmups = 1
num_iterations = {iterations}
"""


@pytest.fixture
def tests_dir(tmp_path: Path) -> Path:
    """A standard and a low-latency test, and one that lasts until it is stopped."""
    folder = tmp_path / "tests"
    folder.mkdir()
    for name, mode, iterations in (
        ("standard", "standard", 3),
        ("low-latency", "low_latency", 3),
        ("endless", "standard", 1_000_000),
    ):
        text = TEST.format(name=name, mode=mode, iterations=iterations)
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def common(torch_python: Path, tmp_path: Path) -> list[str]:
    """Options of every command that needs the inventory: the repository's own, without its caps."""
    return [
        "--inventory",
        str(REPOSITORY / "inventory" / "local"),
        "-e",
        f"deepep_python={torch_python}",
        "-e",
        f"deepep_work_dir={tmp_path / 'work'}",
        "-e",
        f"deepep_run_lease_dir={tmp_path / 'leases'}",
        "-e",
        '{"deepep_iterations_cap": 100000000}',
    ]


def call(*argv: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs ``deepep-compiler`` outside of the repository and returns what it printed."""
    return subprocess.run(
        [COMPILER, *argv],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
