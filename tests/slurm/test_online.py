"""``lint --online``: a plan against what sinfo says (recorded from Slurm 22.05.8), and the real sinfo."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compiler.diagnostics.codes import code_of
from compiler.diagnostics.model import Diagnostic
from compiler.inventory.sinfo import Cluster, parse
from compiler.plan.build import build_plan
from compiler.plan.online import check
from tests.cluster.slurm import SlurmLab
from tests.e2e.conftest import COMPILER, call
from tests.plan.samples import case, entry, inventory, scenario
from tests.slurm.session import write_scenario

SINFO = """batch*|up|1:00:00|n[1-2]|gpu:8|idle
batch*|up|1:00:00|n3|gpu:h100:4(S:0-1)|drained*
short|up|1:00|n[1-3]|gpu:8|idle
long|inact|infinite|n[1-3]|(null)|mixed
"""


def found(
    cluster: Cluster, *, hosts: int = 2, nodes: tuple[str, ...] = (), limit: int = 60, **variables: object
) -> list[str]:
    known = inventory(("n1", "n2", "n3", "n4"), deepep_launcher="slurm", ansible_connection=None, **variables)
    one = entry("a", case(num_nodes=None if nodes else hosts), nodes=nodes, time_limit_s=limit)
    plan, problems = build_plan(scenario(one), known)
    assert plan is not None, problems
    return [f"{slug(one)}: {one.message}" for one in check(plan, known, cluster)]


def slug(one: Diagnostic) -> str:
    code = code_of(one.code)
    assert code is not None
    return code.slug


def test_sinfo_is_read() -> None:
    cluster = parse(SINFO)
    assert cluster.default == "batch"
    assert cluster.partitions["batch"].gpus == {"n1": 8, "n2": 8, "n3": 4}
    assert (cluster.partitions["batch"].limit_s, cluster.partitions["long"].limit_s) == (3600, None)
    assert cluster.partitions["batch"].is_down("n3")
    assert not cluster.partitions["batch"].is_down("n1")


def test_a_plan_that_fits_has_no_findings() -> None:
    assert found(parse(SINFO)) == []
    assert found(parse(SINFO), deepep_slurm_partition="batch", limit=3300) == []


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("slurm-partition: the cluster has no partition 'nope'", {"deepep_slurm_partition": "nope"}),
        ("slurm-partition: the partition long is not up", {"deepep_slurm_partition": "long",
                                                           "deepep_slurm_gpu_request": "none"}),
        ("slurm-time-limit: a/0 asks for 01:01:00", {"limit": 3301}),
        ("slurm-time-limit", {"deepep_slurm_partition": "short"}),
        ("slurm-nodes: the partition batch has no node n4", {"nodes": ("n1", "n4")}),
        ("slurm-nodes: a/0 asks for 4 hosts with 2 GPUs; the partition batch has 3",
         {"hosts": 4, "deepep_slurm_hosts": "slurm"}),
        ("slurm-gpus: n3: 4 GPUs in Slurm, deepep_gpus_per_node asks for 8",
         {"nodes": ("n3",), "deepep_gpus_per_node": 8}),
        ("slurm-node-down: n3: drained", {"nodes": ("n3",)}),
    ],
)  # fmt: skip
def test_what_slurm_would_refuse(words: str, arguments: dict[str, object]) -> None:
    assert words in "\n".join(found(parse(SINFO), **arguments))  # type: ignore[arg-type]


def test_a_cluster_that_cannot_be_asked_and_one_without_a_queue(tmp_path: Path) -> None:
    toml = write_scenario(tmp_path, {"a": ("", 'num_nodes = 1\ntime_limit = "1m"')})
    hosts = {"all": {"hosts": {"n1": {}}, "vars": {
        "deepep_launcher": "slurm", "deepep_container_runtime": "none", "deepep_python": "/opt/bin/python",
        "deepep_backend": "gloo", "deepep_gpus_per_node": 2, "deepep_slurm_login": "gone",
    }}}  # fmt: skip
    path = tmp_path / "hosts.yml"
    for login, launcher, code in (("gone", "slurm", "DEP640"), ("localhost", "ssh", "DEP641")):
        hosts["all"]["vars"].update(deepep_launcher=launcher, deepep_slurm_login=login)  # type: ignore[attr-defined]
        path.write_text(json.dumps(hosts))
        done = call("lint", str(toml), "-i", str(path), "--online", cwd=tmp_path, PATH="/usr/bin:/bin")
        assert code in done.stdout, done.stdout + done.stderr
        assert done.returncode == (1 if code == "DEP640" else 0)


@pytest.mark.cluster
def test_the_real_sinfo(slurm: SlurmLab, tmp_path: Path) -> None:
    toml = write_scenario(tmp_path, {"a": ("", 'nodes = ["gaia-1"]\ntime_limit = "58m"')})
    slurm.login.run("scontrol", "update", "nodename=node1", "state=drain", "reason=test")
    hosts = slurm.inventory(tmp_path / "hosts.yml", deepep_python="/opt/bin/python", deepep_gpus_per_node=16)
    done = slurm.lab.controller.run(COMPILER, "lint", toml, "-i", hosts, "--online", cwd=tmp_path)
    assert done.returncode == 1
    for code in ("DEP643", "DEP645", "DEP646"):
        assert code in done.stdout, done.stdout + done.stderr
    slurm.login.run("scontrol", "update", "nodename=node1", "state=resume")
    hosts = slurm.inventory(tmp_path / "hosts.yml", deepep_python="/opt/bin/python", deepep_slurm_margin_s=60)
    done = slurm.lab.controller.run(COMPILER, "lint", toml, "-i", hosts, "--online", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
