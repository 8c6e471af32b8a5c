"""An image from the registry to a PASS as a Slurm job without pyxis, with the recorded stand-in for enroot.

enroot itself is not on the test bed: tests/cluster/enroot_stand_in.py says what of it is recorded.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests.cluster import enroot_stand_in, images
from tests.cluster.lab import REPOSITORY
from tests.cluster.registry import Registry
from tests.cluster.slurm import SlurmLab
from tests.slurm.session import Run, write_scenario

pytestmark = pytest.mark.cluster

IMAGE = f"{Registry.NAME}#team/deepep:slurm"
TORCH = (REPOSITORY / ".venv-torch").resolve()


def install(slurm: SlurmLab) -> None:
    """Puts the stand-in in enroot's place on all compute hosts."""
    for host in slurm.hosts:
        program = host.root("/usr/local/bin/enroot")
        program.write_text(f'#!/bin/sh\nexec /usr/bin/python3 {enroot_stand_in.__file__} "$@"\n')
        program.chmod(0o755)


def test_an_image_is_imported_by_a_job_and_started_by_others(
    slurm: SlurmLab, torch_python: Path, tmp_path: Path
) -> None:
    registry = slurm.lab.registry
    assert registry is not None
    images.frame(tmp_path / "image.tar", "team/deepep:slurm", env={"NCCL_DEBUG": "TRACE"})
    digest = registry.push(tmp_path / "image.tar", "team/deepep:slurm")
    install(slurm)
    scenario = write_scenario(tmp_path, {
        "boxed": ("", 'nodes = ["gaia-1", "gaia-2"]\ntime_limit = "20m"\n'
                      f'  [Tests.cmd_args]\n  docker_image_url = "{IMAGE}"'),
    })  # fmt: skip
    mounted = (TORCH, (TORCH / "bin" / "python").resolve().parents[1])
    run = Run(
        slurm, tmp_path, scenario,
        deepep_container_runtime="enroot", deepep_slurm_container="enroot",
        deepep_python=str(TORCH / "bin" / "python"),
        deepep_container_mounts=[*images.MOUNTS, *(f"{path}:{path}:ro" for path in mounted)],
        deepep_env={"NCCL_DEBUG": "INFO"}, deepep_master_interface="eth0",
        deepep_registries=[{"registry": Registry.NAME, "username": Registry.USER,
                            "password": Registry.PASSWORD}],
        deepep_rendezvous_timeout_s=600, deepep_process_group_timeout_s=600,
    )  # fmt: skip
    out = run.finish()
    folder = run.session / "boxed/0"
    assert run.process.returncode == 0, out
    assert run.said("boxed/0") == "PASS"
    (file,) = (slurm.shared / "images").glob("*.sqsh")
    assert file.read_bytes()[:4] == b"hsqs"
    for host in ("gaia-1", "gaia-2"):
        record = json.loads((folder / "logs" / f"{host}.container.json").read_text())
        assert (record["runtime"], record["digest"]) == ("enroot", digest)
        found = json.loads((folder / "logs" / f"{host}.environment.json").read_text())["variables"]
        assert found["NCCL_DEBUG"] == "INFO"  # not the image's own
        metadata = tomllib.loads((folder / "metadata" / f"node-{host}.toml").read_text())
        assert digest in json.dumps(metadata)
    # No credential waited in the queue, and none is left.
    for path in [tmp_path / "bundle", run.session, slurm.shared]:
        done = slurm.login.run("grep", "-rlF", Registry.PASSWORD, str(path), check=False)
        assert done.stdout == "", done.stdout
    assert not list(slurm.shared.glob("deepep-root/*"))
    for host_ in slurm.hosts:
        assert not host_.of_benchmark()
