"""A cluster without slurmdbd: what became of jobs comes from the controller, then from its completion log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cluster.slurm import SlurmLab
from tests.conftest import REPO
from tests.slurm.session import Run, write_scenario
from tests.slurm.test_faults import LONG, on

pytestmark = pytest.mark.cluster

ASK = """
import json, sys
sys.path.insert(0, {code!r})
from deepep_host.slurm.jobs import final_facts
print(json.dumps(final_facts(json.loads(sys.stdin.read()), {{}})))
"""


def test_facts_come_from_the_controller_then_from_its_log_then_from_nowhere(
    slurm: SlurmLab, tmp_path: Path
) -> None:
    scenario = write_scenario(tmp_path, {
        "fails": ("exit 4", on("gaia-1")),
        "killed": (LONG, on("gaia-2")),
    })  # fmt: skip
    with slurm.without_accounting():
        assert slurm.login.run("sacct", check=False).returncode != 0
        run = Run(slurm, tmp_path, scenario, deepep_slurm_parallel=True)
        killed = run.until_program("killed/0", "gaia-2")
        slurm.login.run("scancel", killed)
        out = run.finish()
        assert run.process.returncode == 3, out
        for key, state, words in (
            ("fails/0", "FAILED", "gaia-1 ended with exit code 4"),
            ("killed/0", "CANCELLED", "gaia-2 was stopped"),
        ):
            assert run.job(key)["state"] == state
            assert words in run.said(key)
            assert "# from scontrol;" in (run.session / key / "slurm-job.toml").read_text()
        assert slurm.jobs() == []
        run.tell("a user cancels the job, no slurmdbd", "killed/0")
        # Once the controller has forgotten the job.
        slurm.stop_controller()
        slurm.start_controller("-c")
        script = ASK.format(code=str(REPO / "roles" / "deepep_common" / "module_utils"))
        done = slurm.login.run("/usr/bin/python3", "-c", script, input=json.dumps([killed, "999999"]))
        found = json.loads(done.stdout)
    assert (found[killed]["source"], found[killed]["state"]) == ("jobcomp/filetxt", "CANCELLED")
    assert found[killed]["nodes"] == "node2"
    assert (found["999999"]["source"], found["999999"]["state"]) == ("squeue", "UNKNOWN")
