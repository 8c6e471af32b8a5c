"""All runs in one job; hosts that Slurm chooses; the script submitted by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cluster.slurm import SlurmLab
from tests.slurm.session import Run, write_scenario
from tests.slurm.test_faults import AFTER, on

pytestmark = pytest.mark.cluster


def test_one_job_holds_all_runs_one_after_another(slurm: SlurmLab, tmp_path: Path) -> None:
    # One job has the time of all its runs: no more than the partition's 60 minutes.
    scenario = write_scenario(tmp_path, {
        "first": ("echo one; head -c 6000000 /dev/urandom > big", on("gaia-1", "gaia-2", limit="15m")),
        "fails": ("exit 4", on("gaia-3", limit="15m")),
        "never": ("echo three", on("gaia-1", limit="15m") + AFTER.format("fails")),
    })  # fmt: skip
    run = Run(slurm, tmp_path, scenario, deepep_slurm_one_job=True, deepep_slurm_shared_dir=None)
    out = run.finish()
    assert run.process.returncode == 3, out
    jobs = [run.job(key) for key in ("first/0", "fails/0")]
    assert jobs[0]["job_id"] == jobs[1]["job_id"]
    assert jobs[0]["is_single_sbatch"] is True
    for host in ("gaia-1", "gaia-2"):
        assert (run.session / f"first/0/files/{host}/big").stat().st_size == 6_000_000
    assert "one" in (run.session / "first/0/stdout.txt").read_text()
    assert "gaia-3 ended with exit code 4" in run.said("fails/0")
    assert run.verdict("never/0")["verdict"] == "NOT_RUN"
    assert slurm.jobs() == []


def test_slurm_chooses_and_all_runs_take_the_same_hosts(slurm: SlurmLab, tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path, {
        "a": ("head -c 20000000 /dev/urandom > big",
              'num_nodes = 2\ntime_limit = "2m"\nexclude_nodes = ["gaia-1"]'),
        "b": ("true", 'num_nodes = 2\ntime_limit = "2m"'),
    })  # fmt: skip
    run = Run(slurm, tmp_path, scenario, deepep_slurm_hosts="same")
    out = run.finish()
    plan = json.loads((run.session / "plan.json").read_text())
    hosts = [[host["name"] for host in one["hosts"]] for one in plan["runs"]]
    assert hosts[0] == hosts[1], out
    assert "gaia-1" not in hosts[0]
    for name in hosts[0]:  # two parts each
        assert (run.session / f"a/0/files/{name}/big").stat().st_size == 20_000_000
    for name in hosts[1]:
        state = json.loads((run.session / "b/0/logs" / f"{name}.state.json").read_text())
        assert (state["outcome"], state["exit_code"]) == ("exited", 0)
    # The bundle's script by hand, as a user may submit it where the bundle is shared.
    bundle = slurm.shared / "bundle"
    shutil.copytree(tmp_path / "bundle", bundle)
    submit = f"cd {bundle} && sbatch --wait --export=ALL,STAND_IN=true jobs/a/0/cloudai_sbatch_script.sh"
    done = slurm.login.run("sh", "-c", submit, timeout=600)
    job = done.stdout.split()[-1]
    states = list(bundle.glob(f"results/by-hand-{job}/*/runs/a/0/state.json"))
    assert len(states) == 2
    assert all(json.loads(path.read_text())["exit_code"] == 0 for path in states)
