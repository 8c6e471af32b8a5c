"""What Slurm's commands print, read as facts. The texts are recorded from Slurm 22.05.8."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "roles" / "deepep_common" / "module_utils"))

from deepep_host.slurm import query
from deepep_host.slurm.command import Done
from deepep_host.slurm.job import NotInPlan, members
from deepep_host.slurm.jobs import hopeless
from deepep_host.slurm.records import ending_of
from deepep_host.slurm.states import ENDINGS, OVER, RUNNING, RUNS, WAITING, WAITS, never_starts, phase_of

SACCT = """2|t.sh|FAILED|5:0|2026-11-26T22:24:03|2026-11-26T22:24:06|3|node[1-2]|sbatch --parsable t.sh
2.batch|batch|FAILED|5:0|2026-11-26T22:24:03|2026-11-26T22:24:06|3|node1|
2.0|bash|CANCELLED by 0|0:9|2026-11-26T22:24:04|2026-11-26T22:24:05|1|node[1-2]|srun bash -c echo a|b
9|late|PENDING|0:0|Unknown|Unknown|0|None assigned|sbatch late
9|late|NODE_FAIL|0:0|2026-11-26T22:25:03|2026-11-26T22:25:06|3|node3|sbatch late
"""

SCONTROL = (
    "JobId=2 JobName=two words UserId=root(0) GroupId=root(0) Priority=4294901758 Account=root QOS=normal "
    "JobState=FAILED Reason=NonZeroExitCode Dependency=(null) Requeue=0 Restarts=1 BatchFlag=1 ExitCode=5:0 "
    "RunTime=1-00:00:03 TimeLimit=01:00:00 StartTime=2026-11-26T22:24:03 EndTime=2026-11-26T22:24:06 "
    "NodeList=node[1-2] BatchHost=node1 NumNodes=2 ReqB:S:C:T=0:0:*:* Comment=deepep done"
)

JOBCOMP = (
    "JobId=7 UserId=root(0) GroupId=root(0) Name=jobs.a JobState=NODE_FAIL Partition=batch TimeLimit=60 "
    "StartTime=2026-11-26T22:24:03 EndTime=2026-11-26T22:24:06 NodeList=node[1-2] NodeCnt=2 ProcCnt=16 "
    "WorkDir=/ ReservationName= Tres=cpu=16,node=2 Account=root QOS=normal ExitCode=0:0"
)


def test_sacct_gives_jobs_with_their_steps_and_the_last_attempt_of_each() -> None:
    jobs = query.parse_sacct(SACCT)
    assert jobs["2"]["state"] == "FAILED"
    assert [(step["step_id"], step["state"]) for step in jobs["2"]["steps"]] == [
        ("batch", "FAILED"), ("0", "CANCELLED"),
    ]  # fmt: skip
    assert jobs["2"]["steps"][1]["submit_line"] == "srun bash -c echo a|b"
    assert (jobs["9"]["state"], jobs["9"]["nodes"]) == ("NODE_FAIL", "node3")


def test_scontrol_and_the_completion_log_give_the_same_facts() -> None:
    job = query.parse_scontrol(SCONTROL)
    assert job is not None
    assert (job["job_id"], job["name"], job["state"], job["restarts"]) == ("2", "two words", "FAILED", 1)
    assert (job["nodes"], job["exit_code"], job["elapsed_time_sec"]) == ("node[1-2]", "5:0", 86403)
    log = query.parse_jobcomp(JOBCOMP, "7")
    assert log is not None
    assert (log["state"], log["nodes"], log["name"]) == ("NODE_FAIL", "node[1-2]", "jobs.a")
    assert log.keys() - {"source"} <= job.keys()
    assert query.parse_jobcomp(JOBCOMP, "8") is None
    assert query.parse_scontrol("slurm_load_jobs error: Invalid job id specified") is None


def test_squeue_gives_reason_and_the_scripts_comment() -> None:
    (seen,) = query.parse_squeue("5|PENDING|ReqNodeNotAvail, UnavailableNodes:node3||deepep run a|b\nnoise\n")
    assert (seen.job_id, seen.reason) == ("5", "ReqNodeNotAvail, UnavailableNodes:node3")
    assert seen.comment == "deepep run a|b"
    (bare,) = query.parse_squeue("6|RUNNING|None|node[1-2]|(null)")
    assert bare.comment == ""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("35:00", 2100), ("1:00:01", 3601), ("2-00:00:05", 172805), ("UNLIMITED", 0), ("INVALID", 0)],
)
def test_time_left(text: str, seconds: int) -> None:
    assert query.seconds(text) == seconds


def test_every_state_of_slurms_manual_ends_somewhere() -> None:
    manual = (
        "BOOT_FAIL CANCELLED COMPLETED CONFIGURING COMPLETING DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY "
        "PENDING PREEMPTED RUNNING RESV_DEL_HOLD REQUEUE_FED REQUEUE_HOLD REQUEUED RESIZING "
        "REVOKED SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED SUSPENDED TIMEOUT LAUNCH_FAILED RECONFIG_FAIL"
    )
    for state in manual.split():
        assert (state in ENDINGS) + (state in WAITING) + (state in RUNNING) == 1, state
    assert phase_of("CANCELLED by 1000") == OVER
    assert (phase_of("PENDING"), phase_of("SUSPENDED"), phase_of("SOMETHING_NEW")) == (WAITS, RUNS, RUNS)


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("COMPLETED", "lost"), ("OUT_OF_MEMORY", "lost"), ("NODE_FAIL", "lost"), ("PREEMPTED", "stopped"),
        ("BOOT_FAIL", "start_failed"), ("DEADLINE", "timeout"), ("TIMEOUT", "timeout"), ("UNKNOWN", "lost"),
        ("CANCELLED by 0", "stopped"), ("FAILED", "lost"),
    ],
)  # fmt: skip
def test_a_host_without_an_end_of_its_own_never_ends_well(state: str, outcome: str) -> None:
    found, cause = ending_of({"job_id": "5", "state": state, "state_text": state})
    assert found == outcome
    assert "job 5" in cause


@pytest.mark.parametrize(
    "reason",
    ["DependencyNeverSatisfied", "PartitionTimeLimit", "PartitionNodeLimit", "BadConstraints", "InvalidQOS",
     "AssocMaxWallDurationPerJobLimit", "QOSMaxGRESPerJob", "launch failed requeued held",
     "launch_failed_requeued_held"],
)  # fmt: skip
def test_reasons_that_can_never_be_met(reason: str) -> None:
    assert never_starts(reason)
    waiting = {"phase": WAITS, "reason": reason}
    assert hopeless(waiting, 0.0) is None
    assert reason in str(hopeless(waiting, 60.0))


@pytest.mark.parametrize("reason", ["Resources", "Priority", "Dependency", "JobHeldUser", "BeginTime", "None",
                                    "ReqNodeNotAvail, UnavailableNodes:n3", "AssocGrpCPULimit"])  # fmt: skip
def test_reasons_that_time_may_meet(reason: str) -> None:
    assert never_starts(reason) is None


@pytest.mark.parametrize(
    "text",
    ["squeue: error: Unable to contact slurm controller (connect failure)",
     "slurm_load_jobs error: Socket timed out on send/recv operation",
     "sbatch: error: Batch job submission failed: Resource temporarily unavailable"],
)  # fmt: skip
def test_a_controller_that_is_away_is_asked_again(text: str) -> None:
    assert Done(1, "", text).away
    assert not Done(0, "", text).away
    assert not Done(1, "", "sbatch: error: invalid partition specified: nope").away


def test_hosts_keep_the_plans_ranks_or_take_slurms_order() -> None:
    plan = {"slurm": {"nodes": {"gaia-1": {"node": "n1"}, "gaia-2": {"node": "n2"}}}}
    run = {"hosts": [{"name": "gaia-2", "node_rank": 0}, {"name": "gaia-1", "node_rank": 1}]}
    assert [(one.node, one.node_rank) for one in members(plan, run, ["n1", "n2", "n3"])] == [
        ("n2", 0),
        ("n1", 1),
    ]
    with pytest.raises(NotInPlan, match="lacks n1"):
        members(plan, run, ["n2", "n3"])
    free = {**run, "slurm": {"any_hosts": True}}
    chosen = members(plan, free, ["n2", "n9"])
    assert [(one.name, one.node) for one in chosen] == [("gaia-2", "n2"), ("n9", "n9")]
    with pytest.raises(NotInPlan, match="2 are planned"):
        members(plan, free, ["n2"])
