"""Bundles for the tests: made by the compiler's own emitter from plans written here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compiler.emit.bundle import emit_bundle
from compiler.inventory.model import Host, Inventory, Settings, SlurmSettings
from compiler.plan.model import WRITTEN, Plan

STAND_IN = Path(__file__).with_name("fixtures") / "stand_in.py"
HOSTS = ("local-1", "local-2")


def stand_in_run(entry: str, words: Sequence[str], **changes: Any) -> dict[str, Any]:
    """Returns a run of the stand-in program on both hosts, in the form of plan.json."""
    run = {
        "id": f"{entry}/0",
        "entry": entry,
        "iteration": 0,
        "step": None,
        "sweep": {},
        "test_name": "stand-in",
        "description": "a stand-in program {{ 1 + 1 }}",
        "template": "DeepEPBenchmark",
        "program": "image",
        "backend": "gloo",
        "container_runtime": "none",
        "image": None,
        "image_source": None,
        "container": None,
        "hosts": [{"name": name, "node_rank": rank} for rank, name in enumerate(HOSTS)],
        "ranks_per_host": 1,
        "world_size": 2,
        "why_hosts": "written in the test",
        "mode": "standard",
        "config": {"tokens": 8, "data_type": 'odd "value": {{ 7 * 7 }} $(date)'},
        "config_requested": {},
        "env": {"PLAIN": "a 'quoted' \"value\"\nof two lines {{ 7 * 7 }} $(id)", "FROM": "${PLAIN}!"},
        "argv": [{"join": [{"var": "python"}]}, str(STAND_IN), *words],
        "mounts": [],
        "master_interface": "lo",
        "time_limit_s": 60,
        "rendezvous_timeout_s": 30,
        "process_group_timeout_s": 30,
        "after": [],
        "expect": {"operations": [], "world_size": 2, "hosts": 2, "files": [], "traces": 0},
        "test_definition": {"name": "stand-in", "cmd_args": {"tokens": 8}},
    }
    run.update(changes)
    return run


def one_after_another(runs: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Returns the schedule of runs that do not overlap."""
    return [{"verb": verb, "run": run["id"]} for run in runs for verb in ("start", "await", "finish")]


def settings_of(python: str, work_dir: Path | str, **changes: Any) -> Settings:
    """Returns the settings of a host that runs the stand-in."""
    settings = Settings(
        launcher="ssh", container_runtime="none", program="bundled", backend="gloo", gpus_per_node=1,
        python=python, cache_images_locally=False, image_cache_dir=None, work_dir=str(work_dir),
        registries=(), master_interface="lo", master_address=None, env={}, container_mounts=(),
        container_privileged=True,
        container_entrypoint=False, container_without=(), container_options=(), jit_cache_dir=None,
        iterations_cap=None, warmups_cap=None, one_machine="here", rendezvous_timeout_s=30,
        process_group_timeout_s=30, slurm=SlurmSettings(), slurm_node=None,
    )  # fmt: skip
    return replace(settings, **changes)


def plan_of(
    runs: Sequence[dict[str, Any]],
    steps: Sequence[dict[str, str]] | None = None,
    hosts: Sequence[str] = HOSTS,
    connection: str = "local",
    selftest: dict[str, str] | None = None,
) -> Plan:
    """Returns a plan of these runs, one after another where no steps are given."""
    plan = {
        "schema": 1,
        "compiler_version": "0",
        "scenario": {"name": "stand-ins", "description": None},
        "launcher": "ssh",
        "hosts": {
            name: {
                "connection": connection,
                "groups": ["GAIA"],
                "one_machine": "here" if connection == "local" else None,
            }
            for name in hosts
        },
        "runs": list(runs),
        "steps": list(steps or one_after_another(runs)),
        "reports": dict.fromkeys(WRITTEN, True),
        "references": None,
        "warnings": [],
        "selftest": selftest or {},
    }
    return Plan.from_json(plan)


def compile_for_one_host(folder: Path) -> Bundle:
    """Writes the bundle of the same scenario for the first host alone, in the place of one that is there."""
    only = stand_in_run("other", ["say=x"], hosts=[{"name": HOSTS[0], "node_rank": 0}], world_size=1)
    return Bundle(folder, [only], names=HOSTS[:1])


class Bundle:
    """A bundle in a folder of the test, on two hosts of this machine."""

    def __init__(
        self,
        folder: Path,
        runs: Sequence[dict[str, Any]],
        python: str = sys.executable,
        steps: Sequence[dict[str, str]] | None = None,
        variables: dict[str, dict[str, Any]] | None = None,
        selftest: dict[str, str] | None = None,
        lease_dir: Path | None = None,
        names: Sequence[str] = HOSTS,
    ) -> None:
        self.folder = folder / "bundle"
        self.work_dir = folder / "work"
        self.lease_dir = lease_dir or folder / "leases"
        self.results = self.folder / "results"
        hosts = {name: self._host(name, python, (variables or {}).get(name, {})) for name in names}
        emit_bundle(
            plan_of(runs, steps, names, selftest=selftest),
            Inventory("tests", hosts, {"GAIA": tuple(names)}),
            self.folder,
        )

    def _host(self, name: str, python: str, variables: dict[str, Any]) -> Host:
        settings = settings_of(python, self.work_dir)
        own = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            # Tests run at the same time, on one machine.
            "deepep_run_lease_dir": str(self.lease_dir),
        }
        return Host(name, ("GAIA",), "local", settings, {**own, **variables})

    def command(self, playbook: str, *options: str) -> list[str]:
        """Returns the argv of ansible-playbook."""
        return [str(Path(sys.executable).with_name("ansible-playbook")), playbook, *options]

    def environment(self) -> dict[str, str]:
        """Returns the environment without what would change Ansible's configuration."""
        return {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}

    def play(self, playbook: str = "site.yml", *options: str) -> subprocess.CompletedProcess[str]:
        """Runs a playbook of the bundle with the real ansible-playbook."""
        return subprocess.run(
            self.command(playbook, *options),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )

    def session(self) -> Path:
        """Returns the only result directory."""
        (folder,) = filter(Path.is_dir, self.results.iterdir())
        return folder

    def json(self, name: str) -> Any:
        """Returns a JSON file of the session."""
        return json.loads((self.session() / name).read_text(encoding="utf-8"))

    def verdict(self, run: str) -> str:
        """Returns the verdict of a run."""
        return str(self.json(f"{run}/verdict.json")["verdict"])
