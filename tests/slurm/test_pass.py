"""The bundled benchmark passes as a Slurm job, whoever is restarted meanwhile, with the seed page's files."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path

import pytest

from tests.cluster.slurm import SlurmLab, stand_in
from tests.e2e.conftest import COMPILER
from tests.slurm.session import Run, write_scenario

pytestmark = pytest.mark.cluster

SEED_PAGE = (
    "cloudai_sbatch_script.sh", "config.yaml", "env_vars.sh", "hostfile.txt", "stdout.txt", "stderr.txt",
    "slurm-job.toml", "test-run.toml", "metadata/node-gaia-1.toml", "metadata/node-gaia-2.toml",
)  # fmt: skip


@pytest.mark.long
def test_gloo_passes_and_what_a_lost_controller_left_is_taken_up(
    slurm: SlurmLab, torch_python: Path, tmp_path: Path
) -> None:
    scenario = write_scenario(tmp_path, {
        "real": ("", 'nodes = "GAIA:standard_nodes:2"\ntime_limit = "20m"'),
        "fails": ("exit 4", 'nodes = ["gaia-3"]\ntime_limit = "2m"'),
    })  # fmt: skip
    run = Run(
        slurm, tmp_path, scenario, deepep_python=str(torch_python),
        of_host={"gaia-3": {"deepep_python": str(stand_in(slurm.shared))}},
        deepep_rendezvous_timeout_s=600, deepep_process_group_timeout_s=600,
    )  # fmt: skip
    # In the middle of it Slurm's controller is away, as for an upgrade, and Ansible's is lost for good.
    job = run.until_program("real/0", "gaia-1", "gaia-2")
    slurm.stop_controller()
    slurm.lab.controller.vanish()
    run.process.wait(60)
    time.sleep(8)
    slurm.start_controller()
    # Not even the note of the job's id is needed: the login host has its own record.
    (run.session / ".state" / "runs" / "real/0" / "slurm.json").unlink()
    resumed = slurm.lab.controller.run(COMPILER, "run", "--resume", run.results, cwd=tmp_path)
    out = resumed.stdout + resumed.stderr
    # Jobs were followed to their ends and judged; then what did not pass was submitted again.
    assert resumed.returncode == 3, out
    assert "1 of 2 runs are repeated, 1 kept" in out
    assert "1 PASS, 1 FAIL" in out
    (earlier,) = (run.session / "earlier").iterdir()
    before = tomllib.loads((earlier / "fails/0/slurm-job.toml").read_text())
    assert (before["state"], run.job("fails/0")["state"]) == ("FAILED", "FAILED")
    assert run.job("fails/0")["job_id"] > before["job_id"] > run.job("real/0")["job_id"] == int(job)
    for name in SEED_PAGE:
        assert (run.session / "real/0" / name).is_file(), name
    (results,) = (run.session / "real/0/results").iterdir()
    assert results.name.startswith("benchmark_2_ranks_")
    assert run.job("real/0")["state"] == "COMPLETED"
    metadata = tomllib.loads((run.session / "real/0/metadata/node-gaia-2.toml").read_text())
    names = (metadata["host"]["inventory_name"], metadata["host"]["slurm_node"], metadata["host"]["hostname"])
    assert names == ("gaia-2", "node2", "node2")
    assert metadata["slurm"]["job_id"] == str(run.job("real/0")["job_id"])
    assert not list(slurm.shared.glob("deepep-root/*"))
    assert slurm.jobs() == []
    run.tell("slurmctld is restarted and Ansible's machine lost in the middle; run --resume", "real/0")
