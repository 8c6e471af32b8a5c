"""A controller that is lost: the run goes on, is watched from elsewhere, found again and judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compiler.resources import host_code
from tests.cluster.lab import Lab
from tests.cluster.registry import Registry
from tests.cluster.runs import COMPILER, PATIENCE_S, Launched

host_code()

from deepep_host import secret_scan  # noqa: E402 - found by the line above

pytestmark = pytest.mark.cluster

GIVEN_UP = {"deepep_run_lost_after_seconds": 5, "deepep_collect_lost_after_seconds": 2}


def resume(lab: Lab, run: Launched) -> str:
    """Goes on with a session and returns what that says. Raises LabError unless everything passed then."""
    done = lab.controller.run(COMPILER, "run", "--resume", run.session, check=True, timeout=PATIENCE_S)
    return done.stdout + done.stderr


def run_id(run: Launched) -> str:
    """Returns which launch the collected run is of."""
    return str(json.loads((run.session / "Tests.1" / "0" / "launch.json").read_text())["run_id"])


@pytest.mark.long
def test_a_controller_that_dies(lab: Lab, tmp_path: Path) -> None:
    login = {"registry": Registry.NAME, "username": Registry.USER, "password": Registry.PASSWORD}
    run = Launched(lab, tmp_path, lab.hosts[:2], stand_in="*:timing:lasts=30",
                   variables={"deepep_registries": [login]})  # fmt: skip
    run.wait_for_phase("timing")
    began = run.described()["run_id"]
    lab.controller.vanish()
    run.process.wait(PATIENCE_S)
    status = lab.controller.run(COMPILER, "status", run.session, check=False)
    assert "timing" in status.stdout, status.stdout + status.stderr
    assert "its controller is gone" in status.stdout
    # A report made now says what is known, and keeps nobody from going on.
    lab.controller.run(COMPILER, "report", run.session, check=False)
    assert run.verdict()["verdict"] == "FAIL"
    assert "nothing of it was fetched" in json.dumps(run.verdict()["reasons"])
    # Until the run's end, as a user who has come back watches it.
    followed = lab.controller.run(COMPILER, "logs", "-f", run.session, check=False, timeout=PATIENCE_S)
    for host in ("node1", "node2"):
        assert f"[Tests.1/0 {host} stderr]" in followed.stdout, followed.stdout + followed.stderr
    assert "phase done" in followed.stdout, followed.stdout + followed.stderr
    assert "controller is gone" in followed.stderr
    # As if an image had been pulled with that password, and something had written it into the results.
    secret_scan.record_use(run.session, Registry.NAME, "node1")
    (run.session / "leaked.txt").write_text(Registry.PASSWORD)
    found = lab.controller.run(COMPILER, "run", "--resume", run.session, check=False, timeout=PATIENCE_S)
    assert found.returncode == 3, found.stdout + found.stderr
    assert "leaked.txt and was removed there" in found.stderr
    assert (run.session / "leaked.txt").read_text() == "[secret removed]"
    # It is as closed as if its own controller had done it.
    described = run.described()
    assert described["status"] == "finished"
    assert [one["status"] for one in described["executions"]] == ["lost"]
    assert [hit["file"] for hit in described["secret_scan"]["hits"]] == ["leaked.txt"]
    status = lab.controller.run(COMPILER, "status", run.session, check=True)
    assert ", finished, " in status.stdout
    said = resume(lab, run)
    assert "every run has a PASS: nothing to repeat" in said
    assert run.verdict()["verdict"] == "PASS", said
    assert run_id(run) == began, "it was repeated"
    assert not (run.session / "earlier").exists()


@pytest.mark.long
def test_a_controller_without_a_network(lab: Lab, tmp_path: Path) -> None:
    """It saw both hosts vanish and gave up; they went on, and what they have is fetched."""
    run = Launched(lab, tmp_path, lab.hosts[:2], stand_in="*:timing:lasts=20", variables=GIVEN_UP)
    run.wait_for_phase("timing")
    began = run.described()["run_id"]
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


@pytest.mark.long
def test_a_run_that_needs_a_lost_host_is_not_started(lab: Lab, tmp_path: Path) -> None:
    run = Launched(lab, tmp_path, lab.hosts[:2], stand_in="*:timing:lasts=30", variables=GIVEN_UP, tests=2)
    run.wait_for_phase("timing")
    run.hosts[1].power_off()
    assert run.finish() == 3, run.output()
    assert run.verdict()["verdict"] == "FAIL"
    second = run.verdict("Tests.2/0")
    assert second["verdict"] == "NOT_RUN", run.output()
    assert "node2 was lost in Tests.1/0" in json.dumps(second["reasons"])
    assert not [event for event in run.events() if event["event"] == "start" and event["run"] == "Tests.2/0"]


@pytest.mark.long
def test_a_lost_host_that_is_back_takes_part_again(lab: Lab, tmp_path: Path) -> None:
    run = Launched(lab, tmp_path, lab.hosts[:2], stand_in="*:timing:lasts=12", variables=GIVEN_UP, tests=2)
    run.wait_for_phase("timing")
    run.hosts[1].link(up=False)
    try:
        run.wait_for_task("Ask hosts that were lost whether they are back", 2)
    finally:
        run.hosts[1].link(up=True)
    run.finish()
    assert run.verdict()["verdict"] == "FAIL", run.output()
    assert run.verdict("Tests.2/0")["verdict"] == "PASS", run.output()
