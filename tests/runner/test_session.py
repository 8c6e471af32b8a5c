"""Finding a session and reading how its runs stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compiler.runner.session import NotASessionError, create_directory, open_session
from compiler.runner.state import runs


def make(directory: Path, **changes: object) -> Path:
    directory.mkdir(parents=True)
    facts = {"run_id": "1-a", "scenario": "s", "status": "running", "bundle_dir": "/b", **changes}
    (directory / "run.json").write_text(json.dumps(facts))
    plan = {"runs": [{"id": "T/0", "hosts": [{"name": "a"}, {"name": "b"}], "time_limit_s": 60}]}
    (directory / "plan.json").write_text(json.dumps(plan))
    return directory


def test_two_starts_in_one_second_get_two_directories(tmp_path: Path) -> None:
    first, second = create_directory(tmp_path, "s"), create_directory(tmp_path, "s")
    assert first != second
    assert first.is_dir()
    assert second.is_dir()


def test_the_newest_session_of_a_folder_is_taken(tmp_path: Path) -> None:
    make(tmp_path / "one", run_id="1")
    newest = make(tmp_path / "two", run_id="2")
    assert open_session(tmp_path).directory == newest.resolve()
    assert open_session(tmp_path / "one").run_id == "1"


@pytest.mark.parametrize("content", [None, "{", "[]", '{"run_id": 1}'])
def test_what_is_no_session_is_told(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(NotASessionError, match=r"run\.json"):
        open_session(tmp_path)


def test_runs_wait_are_under_way_or_judged(tmp_path: Path) -> None:
    session = make(tmp_path / "s")
    (waiting,) = runs(session)
    assert not waiting.under_way
    notes = session / ".state" / "runs" / "T" / "0"
    notes.mkdir(parents=True)
    progress = {"operation": "combine", "done": 1, "total": 2}
    state = {"status": "running", "outcome": None, "phase": "timing", "progress": progress, "elapsed_s": 2.5}
    (notes / "host-a.json").write_text(json.dumps(state))
    (notes / "host-b.json").write_text("half a fi")
    (running,) = runs(session)
    assert running.under_way
    (seen,) = running.seen
    assert (seen.host, seen.status, seen.phase, seen.progress) == ("a", "running", "timing", "combine 1/2")
    (session / "T" / "0").mkdir(parents=True)
    (session / "T" / "0" / "verdict.json").write_text('{"verdict": "PASS"}')
    (judged,) = runs(session)
    assert judged.verdict == "PASS"
    assert not judged.under_way
