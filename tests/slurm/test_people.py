"""What administrators, other users and impatient people do to jobs, and a controller that is restarted."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.cluster.slurm import SlurmLab
from tests.e2e.conftest import COMPILER
from tests.slurm.session import Run, write_scenario
from tests.slurm.test_faults import AFTER, LONG, on

pytestmark = pytest.mark.cluster

WORK_DIR = "/var/tmp/deepep-root"  # noqa: S108 - a directory of a test host


@pytest.mark.long
def test_states_that_others_put_a_job_in(slurm: SlurmLab, tmp_path: Path) -> None:
    go_on = f"/var/tmp/{tmp_path.name}"  # noqa: S108 - of a test host
    scenario = write_scenario(tmp_path, {
        "preempted": (LONG, on("gaia-1")),
        "requeued": (LONG, on("gaia-2")),
        "suspended": (f"until test -e {go_on}; do sleep 0.2; done", on("gaia-3")),
        "held": ("true", on("gaia-4")),
        "deadline": ("true", on("gaia-5")),
    })  # fmt: skip
    # Somebody else's job is in the way until it is too late to end in time: 50 minutes, and 5 of margin.
    other = ("--parsable", "--exclusive", "--nodelist=node5", "--output=/dev/null", "--wrap=sleep 900")
    in_the_way = slurm.login.run("sbatch", *other).stdout.split()
    run = Run(
        slurm, tmp_path, scenario,
        of_host={
            "gaia-4": {"deepep_slurm_sbatch_args": ["--hold"]},
            "gaia-5": {"deepep_slurm_sbatch_args": ["--deadline=now+3320"]},
        },
        deepep_slurm_parallel=True, deepep_slurm_queue_limit_s=60,
    )  # fmt: skip
    try:
        suspended = run.until_program("suspended/0", "gaia-3")
        slurm.login.run("scontrol", "suspend", suspended)
        run.until_program("preempted/0", "gaia-1")
        slurm.login.run("sbatch", "--partition=urgent", "--nodelist=node1", "--exclusive", "--wrap=sleep 1")
        requeued = run.until_program("requeued/0", "gaia-2")
        slurm.login.run("scontrol", "update", f"jobid={requeued}", "requeue=1")
        slurm.login.run("scontrol", "requeue", requeued)
        # The controller is away for a while, as for an upgrade.
        slurm.stop_controller()
        time.sleep(8)
        slurm.start_controller()
        slurm.until(lambda: run.state_of("suspended/0") == "SUSPENDED", "the suspended job")
        slurm.login.run("scontrol", "resume", suspended)
        slurm.hosts[2].run("touch", go_on)
        out = run.finish()
    finally:
        run.process.kill()
    assert run.process.returncode == 3, out
    assert run.job("preempted/0")["state"] == "PREEMPTED", out
    assert "preempted" in run.said("preempted/0")
    assert run.verdict("preempted/0")["verdict"] == "FAIL"
    assert run.said("requeued/0").startswith("FAIL")
    assert "was requeued; a measured run is not repeated" in run.said("requeued/0")
    assert run.job("suspended/0")["state"] == "COMPLETED"
    assert "outcome" in (run.session / "suspended/0/logs/gaia-3.state.json").read_text()
    assert run.said("held/0").startswith("NOT_RUN")
    assert "was held for more than 60 s" in run.said("held/0")
    assert run.verdict("deadline/0")["verdict"] == "NOT_RUN", out
    assert run.job("deadline/0")["state"] == "DEADLINE"
    assert [line[0] for line in slurm.jobs()] == in_the_way
    run.tell("no host is free early enough for the job's --deadline", "deadline/0")
    run.tell("the job is preempted", "preempted/0")
    run.tell("an administrator requeues the job", "requeued/0")
    run.tell("the job is held for longer than deepep_slurm_queue_limit_s", "held/0")


def test_ctrl_c_ends_the_jobs_and_keeps_what_they_have(slurm: SlurmLab, tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path, {
        "runs": ("echo begun; " + LONG, on("gaia-1", "gaia-2")),
        "waits": (LONG, on("gaia-1") + AFTER.format("runs")),
    })  # fmt: skip
    run = Run(slurm, tmp_path, scenario, deepep_slurm_shared_dir=None)
    run.until_running("runs/0")

    def live() -> bool:
        done = slurm.lab.controller.run(COMPILER, "logs", run.results, "--run", "runs/0", cwd=tmp_path)
        return "[runs/0 gaia-2 stdout] begun" in done.stdout

    slurm.until(live, "the program's words", 300)
    status = slurm.lab.controller.run(COMPILER, "status", run.results, cwd=tmp_path)
    assert "gaia-1: running" in status.stdout
    # Which ends a run as Ctrl-C does; SIGINT is ignored where the tests run in the background of a shell.
    run.process.send_signal(signal.SIGTERM)
    out = run.finish()
    assert run.process.returncode == 130, out
    assert "interrupted" in run.said("runs/0")
    run.tell("Ctrl-C", "runs/0")
    assert "begun" in (run.session / "runs/0/stdout.txt").read_text()
    assert run.verdict("waits/0")["verdict"] == "NOT_RUN"
    assert slurm.jobs() == []
    for host in slurm.hosts[:2]:
        assert not host.of_benchmark()
        assert not [name for name in host.run("ls", WORK_DIR).stdout.split() if name != "locks"]
