"""What Slurm says of a job counts, whatever exit codes and records say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from deepep_host.judge import judge_run

from tests.judge.tree import make_run, make_session, write, write_run


def judge(top: Path, facts: dict[str, Any] | None) -> dict[str, Any]:
    """A run in which all went well on the hosts, with what Slurm says of its job."""
    run = make_run() | {"slurm": {"login": "login1"}}
    run_dir = write_run(top, run)
    if facts is not None:
        write(run_dir / "logs/slurm-job.json", {"job_id": 7, "nodes": "node[1-2]", **facts})
    judged: dict[str, Any] = judge_run(run, run_dir, make_session())
    return judged


def test_a_job_that_completed(tmp_path: Path) -> None:
    assert judge(tmp_path, {"state": "COMPLETED", "exit_code": "0:0"})["verdict"] == "PASS"


@pytest.mark.parametrize(
    "state", ["NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT", "CANCELLED", "PREEMPTED", "FAILED"]
)
def test_a_job_that_did_not(tmp_path: Path, state: str) -> None:
    judged = judge(tmp_path, {"state": state, "exit_code": "0:0"})
    assert judged["verdict"] == "FAIL"
    assert judged["reasons"][0]["code"] == "slurm-state"
    assert state in judged["reasons"][0]["text"]


def test_a_job_of_which_nothing_is_known(tmp_path: Path) -> None:
    judged = judge(tmp_path, None)
    assert (judged["verdict"], judged["reasons"][0]["code"]) == ("FAIL", "slurm-job-missing")
