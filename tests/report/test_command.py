"""``deepep-compiler report``: exit codes, messages, what it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.judge.tree import make_run, make_state, write, write_tree

ROOT = Path(__file__).parents[2]


def _report(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "compiler", "report", str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_all_passed(tmp_path: Path) -> None:
    done = _report(write_tree(tmp_path, [make_run()]))
    assert (done.returncode, done.stderr) == (0, "")
    page = tmp_path / "deepep-benchmark.html"
    assert done.stdout.rstrip().endswith(f"Report: {page}")
    for name in ("summary.json", "summary.csv", "junit.xml", "manifest.json"):
        assert (tmp_path / name).stat().st_size
    assert page.name in json.loads((tmp_path / "manifest.json").read_text())["files"]


def test_not_all_passed(tmp_path: Path) -> None:
    run = make_run()
    write_tree(tmp_path, [run])
    write(tmp_path / "Tests.1/0/logs/node1.state.json", make_state(run, "node1", exit_code=1))
    done = _report(tmp_path)
    assert (done.returncode, done.stderr) == (3, "")
    assert "exit code 1" in done.stdout


def test_nothing_ran_is_no_success(tmp_path: Path) -> None:
    write_tree(tmp_path, [])
    assert _report(tmp_path).returncode == 3


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no plan.json"), ("", "cannot be read"), ('{"runs": 7}', "no list of runs")],
)
def test_no_result_tree(tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        write(tmp_path / "plan.json", content)
    done = _report(tmp_path)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.html"))


def test_a_folder_of_trees_says_which_there_are(tmp_path: Path) -> None:
    write_tree(tmp_path / "night_1", [])
    done = _report(tmp_path)
    assert done.returncode == 1
    assert str(tmp_path / "night_1") in done.stderr


def test_no_such_folder(tmp_path: Path) -> None:
    done = _report(tmp_path / "nowhere")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)


def test_writing_twice_gives_the_same_page(tmp_path: Path) -> None:
    write_tree(tmp_path, [make_run()])
    _report(tmp_path)
    first = (tmp_path / "deepep-benchmark.html").read_bytes()
    # The second time the tree holds the files that the first one wrote.
    _report(tmp_path)
    second = (tmp_path / "deepep-benchmark.html").read_bytes()
    _report(tmp_path)
    assert (tmp_path / "deepep-benchmark.html").read_bytes() == second
    assert len(first) < 3_000_000
