"""Measures the compiler's speed as whole processes: ``make bench``. A measurement: it fails on errors only.

Every row is a command run several times after one warm-up: median and range of the wall time, and the peak
memory of one run (``ru_maxrss``). The aim beside it is the project's own. ``ansible-inventory`` is shown
apart: the other rows read a listing that it wrote before.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler import __version__

RUNS = 5
COMPILER = str(Path(sys.executable).with_name("deepep-compiler"))

TEST = """name = "test-{number}"
description = "Test {number}"
test_template_name = "DeepEPBenchmark"

[cmd_args]
docker_image_url = "registry.example.com#team/deepep:v1.2.1"
mode = "standard"
tokens = {tokens}
num_experts = 256
num_topk = 8
hidden_size = 7168
data_type = "bfloat16"
num_warmups = 20
num_iterations = 50
"""

ENTRY = """
[[Tests]]
id = "Tests.{number}"
test_name = "test-{test}"
num_nodes = 2
time_limit = "00:30:00"
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One measured command."""

    name: str
    argv: Sequence[str]
    aim_s: float | None = None
    runs: int = RUNS


def write_tests(directory: Path, count: int) -> None:
    """Writes ``count`` test files."""
    directory.mkdir(parents=True)
    for number in range(count):
        text = TEST.format(number=number, tokens=128 + number)
        (directory / f"test{number}.toml").write_text(text, encoding="utf-8")


def write_scenario(path: Path, entries: int, tests: int) -> None:
    """Writes a scenario of ``entries`` entries over ``tests`` tests."""
    body = "".join(ENTRY.format(number=number, test=number % tests) for number in range(entries))
    path.write_text(f'name = "{path.stem}"\n{body}', encoding="utf-8")


def write_listing(path: Path) -> None:
    """Writes what ``ansible-inventory --list`` says of two hosts without containers."""
    variables = {
        "ansible_connection": "local",
        "deepep_container_runtime": "none",
        "deepep_backend": "gloo",
        "deepep_gpus_per_node": 2,
        "deepep_python": "/opt/torch/bin/python",
        "deepep_one_machine": "bench",
    }
    hosts = {name: variables for name in ("local-1", "local-2")}
    listing = {
        "_meta": {"hostvars": hosts},
        "all": {"children": ["ungrouped", "GAIA"]},
        "GAIA": {"hosts": list(hosts)},
    }
    path.write_text(json.dumps(listing), encoding="utf-8")


def measure(row: Row) -> tuple[list[float], float]:
    """Runs a row's command and returns the wall times in seconds and the peak memory in MB."""
    times, peak = [], 0.0
    # An installation has its bytecode; some development shells forbid to write it.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    for number in range(row.runs + 1):
        begin = time.perf_counter()
        process = subprocess.Popen(
            row.argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
        )
        assert process.stderr is not None
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        elapsed = time.perf_counter() - begin
        if os.waitstatus_to_exitcode(status) != 0:
            raise SystemExit(f"{row.name}: {' '.join(row.argv)} failed:\n{errors.decode()}")
        if number:
            times.append(elapsed)
            peak = max(peak, usage.ru_maxrss * 1024 / 1e6)
    return times, peak


def rows(work: Path) -> list[Row]:
    """Writes the inputs below ``work`` and returns what to measure."""
    one, thousand, two_hundred = work / "one", work / "thousand", work / "two-hundred"
    write_tests(one / "tests", 1)
    write_tests(thousand / "tests", 1000)
    write_scenario(thousand / "scenario.toml", 1000, 1000)
    write_tests(two_hundred / "tests", 200)
    scenarios = []
    for number in range(200):
        scenarios.append(two_hundred / f"scenario{number}.toml")
        write_scenario(scenarios[-1], 5, 200)
    write_scenario(work / "ten-thousand.toml", 10_000, 1000)
    listing = work / "inventory.json"
    write_listing(listing)

    def compiling(scenario: Path) -> list[str]:
        return [
            COMPILER, "compile", str(scenario), "--tests-dir", str(thousand / "tests"),
            "--inventory-json", str(listing), "-o", str(work / "build" / scenario.stem),
        ]  # fmt: skip

    return [
        Row("--help", [COMPILER, "--help"], 0.1),
        Row("lint one test file", [COMPILER, "lint", str(one / "tests" / "test0.toml")], 0.15),
        Row("lint 1,000 tests, scenario of 1,000 entries",
            [COMPILER, "lint", str(thousand / "scenario.toml"), "--tests-dir", str(thousand / "tests")], 0.8),
        Row("lint 200 scenarios over 200 tests",
            [COMPILER, "lint", *map(str, scenarios), "--tests-dir", str(two_hundred / "tests")], 0.6),
        Row("compile 1,000 entries", compiling(thousand / "scenario.toml"), 1.5),
        Row("compile 10,000 entries", compiling(work / "ten-thousand.toml"), None, 2),
        Row("ansible-inventory --list, two hosts",
            [str(Path(COMPILER).with_name("ansible-inventory")), "-i", "local-1,local-2", "--list"], None),
    ]  # fmt: skip


def main() -> int:
    """Prints one table."""
    work = Path(tempfile.mkdtemp(prefix="deepep-bench-"))
    machine = f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {platform.machine()}"
    print(f"deepep-compiler {__version__}, {machine}; whole processes: median (minimum to maximum)")
    try:
        for row in rows(work):
            times, peak = measure(row)
            aim = f"aim {row.aim_s:.2f} s" if row.aim_s else ""
            print(f"{row.name:45} {statistics.median(times):7.3f} s ({min(times):.3f} to {max(times):.3f})"
                  f"  {peak:6.1f} MB  {aim}", flush=True)  # fmt: skip
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
