"""Going on with a session: what is done before anything is repeated, with a stand-in for Ansible."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compiler.cli import main
from compiler.emit.bundle import emit_bundle
from compiler.plan.build import build_plan
from compiler.resources import host_code
from compiler.runner import ansible, resume
from tests.emit.bundles import played
from tests.host.bundles import Bundle, stand_in_run
from tests.plan.samples import case, entry, inventory, scenario

host_code()

from deepep_host.session import Session, open_session  # noqa: E402 - found by the line above


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A session whose controller is gone while its run goes on."""
    bundle = Bundle(tmp_path, [stand_in_run("run", ["say=x"])])
    opened = open_session(bundle.folder, bundle.results, "here", "2.19")
    opened.take_note("run/0", "rendezvous", {"address": "127.0.0.1"})
    return opened


@pytest.fixture
def ends(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Has playbooks fail after they changed these entries of run.json; returns the file that names each."""

    def set_up(**changes: Any) -> Path:
        script, played = tmp_path / "ansible-playbook", tmp_path / "played"
        script.write_text(
            f"#!{sys.executable}\nimport json, sys\nfrom pathlib import Path\n"
            f"with open({str(played)!r}, 'a') as file:\n    print(sys.argv[-1], file=file)\n"
            f"path = Path({str(session.folder / 'run.json')!r})\n"
            f"path.write_text(json.dumps({{**json.loads(path.read_text()), **{changes!r}}}))\nsys.exit(2)\n"
        )
        script.chmod(0o755)
        monkeypatch.setattr(ansible, "executable", lambda name: script)
        return played

    return set_up


@pytest.mark.parametrize("closed", [True, False])
def test_what_could_not_be_taken_up_everywhere_is_told_and_not_reported_as_the_end(
    session: Session, ends: Callable[..., Path], capsys: pytest.CaptureFixture[str], closed: bool
) -> None:
    # A playbook goes on to close the session while one host is left; what an earlier end found is no reason.
    played = ends(ended_at="2026-01-01T00:00:00Z") if closed else ends(secret_scan={"hits": [{"count": 1}]})
    (session.folder / "ansible.log").write_text("local-2: no space left on device\n")
    assert main.run(["run", "--resume", session.results_dir]) == 1
    told = capsys.readouterr()
    assert "could not be taken up, so nothing is repeated" in told.err
    assert "local-2: no space left on device" in told.err
    assert told.out == ""
    assert played.read_text() == "adopt.yml\n"


def test_a_secret_in_what_was_taken_up_is_reported_and_what_to_do_next_is_told(
    session: Session, ends: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    played = ends(ended_at="2026-01-01T00:00:00Z", secret_scan={"hits": [{"file": "x", "count": 1}]})
    assert main.run(["run", "--resume", session.results_dir]) == 3
    told = capsys.readouterr()
    assert "run/0" in told.out
    assert "nothing was repeated, because of the secret: once it is revoked, call --resume again" in told.err
    assert played.read_text() == "adopt.yml\n"


def test_a_bundle_that_another_terminal_looks_through_is_replaced_after_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (before, _), (now, _) = (
        build_plan(scenario(entry("a", case(tokens=number))), inventory()) for number in (8, 9)
    )
    assert before is not None
    assert now is not None
    emit_bundle(before, inventory(), tmp_path / "whole")
    told: list[str] = []
    with played(tmp_path / "whole") as look:

        def until_it_ends(_: float) -> None:
            look.communicate()

        monkeypatch.setattr(resume, "time", SimpleNamespace(sleep=until_it_ends))
        resume.emit_once_free(now, inventory(), tmp_path / "whole", told.append)
    assert '"tokens": 9' in (tmp_path / "whole" / "plan.json").read_text()
    (line,) = told
    assert "whole is being played by ansible-playbook at this moment: waiting for its end" in line
