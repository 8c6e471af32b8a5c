"""What the command line plays when a session is to end, with a stand-in for ``ansible-playbook``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.cli import main, run
from compiler.runner import ansible
from compiler.runner import run as running
from compiler.runner.ansible import Playbook
from tests.host.bundles import plan_of, stand_in_run

PLAN = plan_of([stand_in_run("a", [])])

Play = Callable[[int], Path]


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A session that was opened and has started a run."""
    folder = tmp_path / "session"
    (folder / ".state" / "runs" / "a" / "0").mkdir(parents=True)
    (folder / ".state" / "runs" / "a" / "0" / "rendezvous.json").write_text("{}")
    (folder / "plan.json").write_text(json.dumps(PLAN.to_json()))
    (folder / "stop.yml").touch()
    facts = {"run_id": "1-a", "scenario": "s", "stamp": "1", "status": "running", "bundle_dir": str(folder),
             "reached_with": {"left_out": ["-e my_password"]}}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def playing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Has playbooks end with a code, and returns the file that then names each."""

    def set_up(code: int) -> Path:
        script, played = tmp_path / "ansible-playbook", tmp_path / "played"
        script.write_text(f'#!/bin/sh\nfor last; do :; done\necho "$last" >> {played}\nexit {code}\n')
        script.chmod(0o755)
        monkeypatch.setattr(ansible, "executable", lambda name: script)
        return played

    return set_up


def test_an_interrupted_preflight_is_ended_on_the_hosts_too(
    session: Path, playing: Play, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played = playing(0)
    monkeypatch.setattr(running, "play", lambda *_, **__: running.Outcome(99, interrupted=True))
    args = argparse.Namespace(preflight_only=True, verbose=0)
    assert run.play_and_halt(args, Playbook(session, "preflight.yml", (), (), ()), session, PLAN) == 130
    assert played.read_text() == "stop.yml\n"
    assert json.loads((session / "run.json").read_text())["status"] == "interrupted"
    assert capsys.readouterr().err.endswith("interrupted\n")


def test_stop_ends_its_line_on_what_has_to_be_given_again(
    session: Path, playing: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    played = playing(2)
    assert main.run(["stop", str(session)]) == 3
    assert played.read_text() == "stop.yml\ncollect.yml\n"
    assert capsys.readouterr().err.endswith("-e my_password too, which is not kept: give it again\n")
