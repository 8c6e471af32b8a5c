"""The emitted job scripts: golden files, and shellcheck. To accept a change: DEEPEP_UPDATE_GOLDEN=1."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from compiler import __version__
from compiler.emit.bundle import emit_bundle
from compiler.inventory.model import Inventory
from compiler.plan.build import build_plan
from compiler.plan.model import Plan
from tests.plan.samples import case, entry, inventory, of_hostvars, scenario

GOLDEN = Path(__file__).with_name("golden")

SLURM = {
    "deepep_launcher": "slurm",
    "deepep_container_runtime": "none",
    "deepep_python": "/shared/torch/bin/python",
    "deepep_backend": "nccl",
    "deepep_slurm_login": "front",
    "deepep_slurm_partition": "batch",
}

CASES: Mapping[str, Mapping[str, object]] = {
    "plain": {},
    "everything": {
        "deepep_slurm_account": "team",
        "deepep_slurm_qos": "high",
        "deepep_slurm_distribution": "block:cyclic",
        "deepep_slurm_mpi": "pmix",
        "deepep_slurm_gpu_request": "gpus_per_node",
        "deepep_slurm_exclusive": False,
        "deepep_slurm_sbatch_args": ["--mem=0", "--comment=it's mine"],
        "deepep_slurm_srun_args": ["--reservation", "weekly", "$(touch x)", "a b"],
        "deepep_slurm_margin_s": 0,
        "deepep_slurm_host_python": "/opt/my python/bin/python3",
    },
    "any-hosts": {"deepep_slurm_hosts": "slurm"},
    "one-job": {"deepep_slurm_one_job": True},
    "pyxis": {
        "deepep_container_runtime": "enroot",
        "deepep_slurm_shared_dir": "/shared",
        "deepep_env": {"NCCL_DEBUG": "INFO"},
        "deepep_container_mounts": ["/data/it's:/data:ro"],
    },
    "enroot": {
        "deepep_container_runtime": "enroot",
        "deepep_slurm_container": "enroot",
        "deepep_image_cache_dir": "/images",
    },
}


IMAGE = "registry.example.com:5005#team/deepep:1.2@sha256:" + "0123456789abcdef" * 4


def planned(variables: Mapping[str, object]) -> tuple[Plan, Inventory]:
    image = IMAGE if "deepep_container_runtime" in variables else None
    known = of_hostvars({
        "front": {"ansible_host": "login.example.com"},
        **{f"gaia-{n}": {**SLURM, "deepep_slurm_node": f"dgx0{n}", **variables} for n in (2, 1, 3)},
    })  # fmt: skip
    first = entry(
        "first",
        case(num_nodes=2, docker_image_url=image),
        exclude=["gaia-3"],
        extra_srun_args=("--x=y z",),
        time_limit_s=90,
    )
    second = entry("second", case(num_nodes=1, docker_image_url=image), after=[("start_post_comp", "first")])
    plan, findings = build_plan(scenario(first, second), known)
    assert plan is not None, findings
    return plan, known


@pytest.mark.parametrize("name", CASES)
def test_scripts_are_as_before_and_pass_shellcheck(name: str, tmp_path: Path) -> None:
    plan, known = planned(CASES[name])
    emit_bundle(plan, known, tmp_path / "bundle")
    scripts = sorted((tmp_path / "bundle" / "jobs").rglob("cloudai_sbatch_script.sh"))
    assert len(scripts) == (1 if name == "one-job" else 2)
    checked = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    text = scripts[0].read_text().replace(__version__, "VERSION")
    path = GOLDEN / f"{name}.sh"
    if os.environ.get("DEEPEP_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_the_login_host_is_none_of_the_compute_hosts_and_the_only_one_in_the_bundle(tmp_path: Path) -> None:
    plan, known = planned({})
    assert set(plan.hosts) == {"gaia-2", "gaia-1"}
    emit_bundle(plan, known, tmp_path / "bundle")
    hosts = (tmp_path / "bundle" / "inventory" / "hosts.yml").read_text()
    assert "login.example.com" in hosts
    assert "gaia" not in hosts
    for name in ("site.yml", "stop.yml", "collect.yml", "look.yml", "cleanup.yml", "runs/0001.yml"):
        assert "gaia" not in (tmp_path / "bundle" / name).read_text()


def test_without_a_login_host_it_is_the_machine_of_ansible(tmp_path: Path) -> None:
    known = inventory(deepep_launcher="slurm", ansible_connection=None)
    plan, _ = build_plan(scenario(entry("a")), known)
    assert plan is not None
    emit_bundle(plan, known, tmp_path / "bundle")
    assert "ansible_playbook_python" in (tmp_path / "bundle" / "inventory" / "hosts.yml").read_text()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"deepep_container_runtime": "docker"}, "deepep_container_runtime is docker"),
        ({"deepep_slurm_node": "same"}, "are both the Slurm node same"),
    ],
)
def test_settings_that_no_job_can_have(variables: Mapping[str, object], words: str) -> None:
    known = inventory(deepep_launcher="slurm", ansible_connection=None, **variables)
    image = "registry.example.com/a/b@sha256:" + "0" * 64
    _, findings = build_plan(scenario(entry("a", case(docker_image_url=image))), known)
    assert words in "\n".join(found.message for found in findings)


def test_hosts_of_a_scenario_must_agree_about_what_all_jobs_share() -> None:
    hosts = {name: {**SLURM, "deepep_gpus_per_node": 2} for name in ("n1", "n2")}
    hosts["n2"]["deepep_slurm_shared_dir"] = "/other"
    entries = [entry(name, nodes=[name]) for name in hosts]
    _, findings = build_plan(scenario(*entries), of_hostvars(hosts))
    assert "deepep_slurm_shared_dir is None on n1 and '/other' on n2" in [f.message for f in findings]
