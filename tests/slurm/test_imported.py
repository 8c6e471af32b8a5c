"""A system TOML of CloudAI's becomes an inventory that works; a test runs beside its load there."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.slurm import SlurmLab, stand_in
from tests.e2e.conftest import COMPILER
from tests.slurm.session import Run, write_scenario

pytestmark = pytest.mark.cluster

SYSTEM = """name = "lab"
scheduler = "slurm"
install_path = "/var/tmp/install"
output_path = "{shared}"
default_partition = "batch"
gpus_per_node = 1
monitor_interval = 1
[[partitions]]
name = "batch"
  [[partitions.groups]]
  name = "rack"
  nodes = ["node[1-6]"]
"""


def imported(slurm: SlurmLab, folder: Path) -> Path:
    """Returns the inventory of the lab's system TOML, with what CloudAI's file does not know."""
    (folder / "system.toml").write_text(SYSTEM.format(shared=slurm.shared))
    target = folder / "inventory"
    subprocess.run([COMPILER, "import-system", folder / "system.toml", "-o", target], check=True)
    settings = target / "group_vars" / "all.yml"
    text = settings.read_text()
    assert 'deepep_container_runtime: "enroot"' in text
    # CloudAI always has containers.
    settings.write_text(text.replace('runtime: "enroot"', 'runtime: "none"'))
    site: dict[str, Any] = {
        "ansible_python_interpreter": "/usr/bin/python3",
        "deepep_slurm_login": "front",
        "deepep_slurm_host_python": "/usr/bin/python3",
        "deepep_python": str(stand_in(slurm.shared)),
        "deepep_backend": "gloo",
    }
    content = {"all": {"hosts": {"front": {"ansible_host": slurm.login.name}}, "vars": site}}
    (target / "site.yml").write_text(json.dumps(content))
    return target


def at(state: dict[str, Any], key: str) -> datetime:
    """Returns a time of a host's state."""
    return datetime.fromisoformat(state[key].replace("Z", "+00:00"))


def test_a_test_runs_beside_its_load_on_an_imported_system(slurm: SlurmLab, tmp_path: Path) -> None:
    limit = 'time_limit = "10m"\ndependencies = [{type = "%s", id = "%s"}]'
    scenario = write_scenario(tmp_path, {
        "load": ("sleep 600", 'nodes = ["node1"]\n' + limit % ("end_post_comp", "main")),
        "main": ("sleep 3", 'nodes = "batch:rack:1"\nexclude_nodes = ["node1"]\n'
                            + limit % ("start_post_init", "load")),
    })  # fmt: skip
    run = Run(slurm, tmp_path, scenario, inventory=imported(slurm, tmp_path))
    out = run.finish()
    assert run.process.returncode == 3, out
    plan = json.loads((run.session / "plan.json").read_text())
    (host,) = next(one for one in plan["runs"] if one["id"] == "main/0")["hosts"]
    load, main = (
        json.loads((run.session / key / "0/logs" / f"{name}.state.json").read_text())
        for key, name in (("load", "node1"), ("main", host["name"]))
    )
    # Slurm's "after" waits for the other job's begin, to the second, not for its program.
    assert run.job("load/0")["start_time"] <= run.job("main/0")["start_time"]
    assert at(main, "ended_at") <= at(load, "ended_at")
    assert (main["outcome"], main["exit_code"]) == ("exited", 0), out
    assert (load["outcome"], load["cause"]) == ("stopped", "ends with main/0"), out
    assert slurm.jobs() == []
