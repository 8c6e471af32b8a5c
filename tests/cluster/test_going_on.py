"""A controller that is lost: the run goes on, is watched from elsewhere, found again and judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cluster.lab import Lab
from tests.cluster.runs import COMPILER, PATIENCE_S, Launched

pytestmark = pytest.mark.cluster


def resume(lab: Lab, run: Launched) -> str:
    """Goes on with a session and returns what that says. Raises LabError unless everything passed then."""
    done = lab.controller.run(COMPILER, "run", "--resume", run.session, check=True, timeout=PATIENCE_S)
    return done.stdout + done.stderr


def run_id(run: Launched) -> str:
    """Returns which launch the collected run is of."""
    return str(json.loads((run.session / "Tests.1" / "0" / "launch.json").read_text())["run_id"])


def test_a_controller_that_dies(lab: Lab, tmp_path: Path) -> None:
    run = Launched(lab, tmp_path, lab.hosts[:2], stand_in="*:timing:lasts=30")
    run.wait_for_phase("timing")
    began = json.loads((run.session / "run.json").read_text())["run_id"]
    lab.controller.vanish()
    run.process.wait(PATIENCE_S)
    status = lab.controller.run(COMPILER, "status", run.session, check=False)
    assert "timing" in status.stdout, status.stdout + status.stderr
    # Until the run's end, as a user who has come back watches it.
    followed = lab.controller.run(COMPILER, "logs", "-f", run.session, check=False, timeout=PATIENCE_S)
    for host in ("node1", "node2"):
        assert f"[Tests.1/0 {host} stderr]" in followed.stdout, followed.stdout + followed.stderr
    assert "phase done" in followed.stdout, followed.stdout + followed.stderr
    assert "controller is gone" in followed.stderr
    said = resume(lab, run)
    assert run.verdict()["verdict"] == "PASS", said
    assert run_id(run) == began, "it was repeated"
    assert not (run.session / "earlier").exists()


def test_a_controller_without_a_network(lab: Lab, tmp_path: Path) -> None:
    """It saw both hosts vanish and gave up; they went on, and what they have is fetched."""
    given_up = {"deepep_run_lost_after_seconds": 5, "deepep_collect_lost_after_seconds": 2}
    run = Launched(lab, tmp_path, lab.hosts[:2], stand_in="*:timing:lasts=20", variables=given_up)
    run.wait_for_phase("timing")
    began = json.loads((run.session / "run.json").read_text())["run_id"]
    lab.controller.link(up=False)
    try:
        assert run.finish() == 3, run.output()
    finally:
        lab.controller.link(up=True)
    assert run.verdict()["verdict"] != "PASS"
    # What the hosts have is the truth, once they can be asked again.
    said = resume(lab, run)
    assert "every run has a PASS: nothing to repeat" in said
    assert run.verdict()["verdict"] == "PASS", said
    assert run_id(run) == began, "it was repeated"
    assert not any(map(run.left_on, run.hosts)), "files are left on the hosts"
