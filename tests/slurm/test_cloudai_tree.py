"""CloudAI's own readers accept what runs leave: its models, recorded from 5b5c0f72 as names and types.

``src/cloudai/systems/slurm/slurm_metadata.py`` there: pydantic converts no number to a text, and
``SlurmJobMetadata`` refuses keys that it does not know.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepep_host import metadata
from deepep_host.session import Session
from deepep_host.slurm.job import Member
from deepep_host.slurm.query import parse_sacct
from deepep_host.slurm.records import write_job
from deepep_host.toml_writer import dumps

from tests.slurm.test_words import SACCT

STEP = {
    "job_id": int, "name": str, "state": str, "start_time": str, "end_time": str, "elapsed_time_sec": int,
    "exit_code": str, "step_id": str, "submit_line": str,
}  # fmt: skip
JOB = {
    **{name: kind for name, kind in STEP.items() if name not in ("step_id", "submit_line")},
    "srun_cmd": str, "test_cmd": str, "is_single_sbatch": bool, "job_root": str, "job_steps": list,
}  # fmt: skip
NODE = {
    "system": "os_type os_version linux_kernel_version gpu_arch_type cpu_model_name cpu_arch_type",
    "mpi": "mpi_type mpi_version hpcx_version",
    "cuda": "cuda_build_version cuda_runtime_version cuda_driver_version",
    "network": "nics switch_type network_name mofed_version libfabric_version",
    "nccl": "version commit_sha",
    "slurm": "cluster_name node_list num_nodes ntasks_per_node ntasks job_id",
}
"""Tables of a node's file and their keys, all of them texts; others are passed over."""


def fits(found: Mapping[str, Any], model: Mapping[str, type]) -> None:
    assert found.keys() == model.keys()
    for name, kind in model.items():
        assert type(found[name]) is kind, name


def test_slurm_job_toml(tmp_path: Path) -> None:
    session = Session("20260101_000000-abcdef", str(tmp_path), "20260101_000000", str(tmp_path))
    final = parse_sacct(SACCT)["2"]
    hosts = [Member("gaia-1", "node1", 0), Member("gaia-2", "node2", 1)]
    write_job(session, "a/0", hosts, final, {"argv": ["sbatch", "x"], "at": "now"}, {"one_job": False})
    text = (tmp_path / "a/0/slurm-job.toml").read_text()
    found = tomllib.loads(text)
    fits(found, JOB)
    assert len(found["job_steps"]) == 2
    for step in found["job_steps"]:
        fits(step, STEP)
    assert "# rank 1 of the hosts: gaia-2, in Slurm node2" in text
    write_job(session, "b/0", hosts, {"job_id": "7", "state": "UNKNOWN"}, {}, {})
    fits(tomllib.loads((tmp_path / "b/0/slurm-job.toml").read_text()), JOB)


def test_metadata_of_a_node() -> None:
    tables = {**metadata.collect("n1", "python3", {}), "slurm": metadata.slurm(["n1", "n2"], 8)}
    found = tomllib.loads(dumps(tables))
    assert isinstance(found["user"], str)
    for table, keys in NODE.items():
        for key in keys.split():
            assert isinstance(found[table][key], str), f"{table}.{key}"
