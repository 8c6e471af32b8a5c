"""What goes wrong on a Slurm cluster ends with the right verdict and words, and leaves no job behind."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.cluster.slurm import SlurmLab
from tests.slurm.session import Run, write_scenario

pytestmark = pytest.mark.cluster

LONG = "sleep 600"
TOO_MUCH = "exec /usr/bin/python3 -c 'x = bytearray(500 << 20)'"
WITH_IMAGE = '\n  [Tests.cmd_args]\n  docker_image_url = "127.0.0.1:1#team/none:1"'
"""Nothing listens there."""
AFTER = '\ndependencies = [{{type = "start_post_comp", id = "{}"}}]'


def on(*hosts: str, limit: str = "50m") -> str:
    """Lines of an entry that runs on these hosts."""
    names = ", ".join(f'"{host}"' for host in hosts)
    return f'nodes = [{names}]\ntime_limit = "{limit}"'


@pytest.mark.long
def test_faults_of_programs_hosts_and_people(slurm: SlurmLab, tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path, {
        "dies": (f'[ "$SLURMD_NODENAME" != node2 ] || {{ echo last words >&2; exit 3; }}; {LONG}',
                 on("gaia-1", "gaia-2")),
        "hangs": (LONG, on("gaia-3", limit="10s")),
        "cancelled": (LONG, on("gaia-4")),
        "power": (LONG, on("gaia-1", "gaia-2")),
        "never": (LONG, on("gaia-3") + AFTER.format("hangs")),
        "memory": (TOO_MUCH, on("gaia-5")),
    })  # fmt: skip
    run = Run(
        slurm, tmp_path, scenario, deepep_slurm_parallel=True,
        of_host={"gaia-5": {"deepep_slurm_sbatch_args": ["--mem=200"]}},
    )  # fmt: skip
    try:
        cancelled = run.until_program("cancelled/0", "gaia-4")
        slurm.login.run("scancel", cancelled)
        run.until_program("power/0", "gaia-1", "gaia-2")
        slurm.hosts[1].power_off()
        out = run.finish()
    finally:
        run.process.kill()
    assert run.process.returncode == 3, out

    assert run.said("dies/0").startswith("FAIL"), out
    assert "gaia-2 ended with exit code 3" in run.said("dies/0")
    assert run.job("dies/0")["state"] == "FAILED"
    assert "last words" in (run.session / "dies/0/stderr.txt").read_text()

    assert run.said("hangs/0").startswith("TIMEOUT")
    assert "time limit of 10 s" in run.said("hangs/0")

    assert run.said("cancelled/0").startswith("FAIL")
    assert "gaia-4 was stopped" in run.said("cancelled/0")
    assert run.job("cancelled/0")["state"] == "CANCELLED"

    assert run.said("power/0").startswith("FAIL")
    assert "NODE_FAIL" in run.said("power/0")
    assert run.job("power/0")["state"] == "NODE_FAIL"
    hosts = tomllib.loads((run.session / "power/0/job.toml").read_text())["hosts"]
    assert [(host["name"], host["slurm_node"]) for host in hosts] == [
        ("gaia-1", "node1"),
        ("gaia-2", "node2"),
    ]

    assert run.said("never/0").startswith("NOT_RUN")
    assert "after hangs/0 has completed" in run.said("never/0")

    assert run.said("memory/0").startswith("FAIL")
    assert "what its job may have of it, ran out of memory" in run.said("memory/0")
    assert "OUT_OF_MEMORY" in run.said("memory/0")
    assert slurm.jobs() == []
    run.tell("a rank dies on one of two hosts", "dies/0")
    run.tell("the program hangs", "hangs/0")
    run.tell("a user cancels the job", "cancelled/0")
    run.tell("a compute host loses power in the middle", "power/0")
    run.tell("a program needs more memory than its job has (cgroup)", "memory/0")
    run.tell("a run that another one needed did not pass", "never/0")


def test_what_slurm_refuses_is_not_run_and_says_why(slurm: SlurmLab, tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path, {
        "partition": ("true", on("gaia-1")),
        "account": ("true", on("gaia-2")),
        "time": ("true", on("gaia-3")),
        "after": ("true", on("gaia-1") + AFTER.format("partition")),
        "spool": ("true", on("gaia-4")),
        "boot": ("true", on("gaia-6")),
        "image": ("true", on("gaia-5") + WITH_IMAGE),
    })  # fmt: skip
    slurm.hosts[3].fill_disk()
    slurm.hosts[3].run("sh", "-c", "cat /dev/zero > /var/spool/slurmd/full", check=False)
    run = Run(
        slurm, tmp_path, scenario, deepep_slurm_parallel=True, deepep_slurm_queue_limit_s=60,
        of_host={
            "gaia-1": {"deepep_slurm_partition": "nope"},
            "gaia-2": {"deepep_slurm_account": "nobody"},
            "gaia-3": {"deepep_slurm_partition": "short"},
            "gaia-5": {"deepep_container_runtime": "enroot"},
            "gaia-6": {"deepep_slurm_sbatch_args": ["--reboot"]},
        },
    )  # fmt: skip
    out = run.finish()
    assert run.process.returncode == 3, out
    for key, fault, words in (
        ("partition", "a partition that does not exist", "invalid partition"),
        ("account", "an account that is refused", "invalid account"),
        ("time", "more time than the partition allows", "time limit"),
        ("image", "an image that cannot be had", "its image could not be imported"),
    ):
        assert run.verdict(f"{key}/0")["verdict"] == "NOT_RUN", out
        assert words in run.said(f"{key}/0").lower()
        run.tell(fault, f"{key}/0")
    assert run.said("after/0").startswith("NOT_RUN")
    assert run.verdict("spool/0")["verdict"] in ("NOT_RUN", "FAIL"), out
    run.tell("a host does not come back from the reboot that a job asked for (--reboot)", "boot/0")
    run.tell("the spool directory of a compute host is full", "spool/0")
    assert slurm.jobs() == []
