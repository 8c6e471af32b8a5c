"""An image from the registry to a PASS as a Slurm job without pyxis, with the recorded stand-in for enroot.

enroot itself is not on the test bed: tests/cluster/enroot_stand_in.py says what of it is recorded. The same
with the real pyxis, where somebody has built it for this Slurm: python -m tests.slurm.test_enroot PLUGIN.so
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import enroot_stand_in, images
from tests.cluster.lab import REPOSITORY
from tests.cluster.registry import Registry
from tests.cluster.slurm import SlurmLab
from tests.slurm.session import Run, write_scenario

pytestmark = pytest.mark.cluster

IMAGE = f"{Registry.NAME}#team/deepep:slurm"


def install(slurm: SlurmLab) -> None:
    """Puts the stand-in in enroot's place on all compute hosts."""
    for host in slurm.hosts:
        program = host.root("/usr/local/bin/enroot")
        program.write_text(f'#!/bin/sh\nexec /usr/bin/python3 {enroot_stand_in.__file__} "$@"\n')
        program.chmod(0o755)


def push(slurm: SlurmLab, folder: Path) -> str:
    """Pushes the image; returns its digest."""
    registry = slurm.lab.registry
    assert registry is not None
    images.frame(folder / "image.tar", "team/deepep:slurm", env={"NCCL_DEBUG": "TRACE"})
    return registry.push(folder / "image.tar", "team/deepep:slurm")


def play(slurm: SlurmLab, folder: Path, torch: Path, container: str, **variables: Any) -> Run:
    """Runs the benchmark in an image that only the registry has."""
    folder.mkdir(exist_ok=True)
    scenario = write_scenario(folder, {
        "boxed": ("", 'nodes = ["gaia-1", "gaia-2"]\ntime_limit = "20m"\n'
                      f'  [Tests.cmd_args]\n  docker_image_url = "{IMAGE}"'),
    })  # fmt: skip
    # The interpreter with torch would be in the image; a gigabyte of it is mounted instead.
    mounted = (torch.parents[1], torch.resolve().parents[1])
    return Run(
        slurm, folder, scenario,
        deepep_container_runtime="enroot", deepep_slurm_container=container, deepep_python=str(torch),
        deepep_container_mounts=[*images.MOUNTS, *(f"{path}:{path}:ro" for path in mounted)],
        deepep_env={"NCCL_DEBUG": "INFO"}, deepep_master_interface="eth0",
        deepep_registries=[{"registry": Registry.NAME, "username": Registry.USER,
                            "password": Registry.PASSWORD}],
        deepep_rendezvous_timeout_s=600, deepep_process_group_timeout_s=600, **variables,
    )  # fmt: skip


def check(slurm: SlurmLab, run: Run, digest: str) -> None:
    """Checks what the run left: a PASS, the digest in its records, no credential and no file anywhere."""
    out = run.finish()
    assert run.process.returncode == 0, out
    assert run.said("boxed/0") == "PASS"
    scanned = json.loads((run.session / "run.json").read_text())["secret_scan"]
    assert scanned["searched"] > 0
    assert (scanned["hits"], scanned["not_searched"]) == ([], [])
    folder = run.session / "boxed/0"
    (file,) = (slurm.shared / "images").glob("*.sqsh")
    assert file.read_bytes()[:4] == b"hsqs"
    for host in ("gaia-1", "gaia-2"):
        assert json.loads((folder / "logs" / f"{host}.container.json").read_text())["digest"] == digest
        assert digest in (folder / "metadata" / f"node-{host}.toml").read_text()
    for path in (run.inventory.with_name("bundle"), run.session, slurm.shared):
        done = slurm.login.run("grep", "-rlF", Registry.PASSWORD, str(path), check=False)
        assert done.stdout == "", done.stdout
    assert not list(slurm.shared.glob("deepep-root/*"))
    for host_ in slurm.hosts:
        assert not host_.of_benchmark()


@pytest.mark.long
def test_an_image_is_imported_by_a_job_and_started_by_others(
    slurm: SlurmLab, torch_python: Path, tmp_path: Path
) -> None:
    install(slurm)
    digest = push(slurm, tmp_path)
    run = play(slurm, tmp_path / "first", torch_python, "enroot")
    check(slurm, run, digest)
    for host in ("gaia-1", "gaia-2"):
        path = run.session / "boxed/0/logs" / f"{host}.environment.json"
        assert json.loads(path.read_text())["variables"]["NCCL_DEBUG"] == "INFO"  # not the image's own
    # The file is kept: with the setting, nobody asks the registry again.
    registry = slurm.lab.registry
    assert registry is not None
    registry.stop()
    try:
        again = play(slurm, tmp_path / "again", torch_python, "enroot", deepep_cache_images_locally=True)
        check(slurm, again, digest)
    finally:
        registry.start()


def main(plugin: Path) -> None:
    """The same through srun's options, with a pyxis that was built for the lab's Slurm."""
    with tempfile.TemporaryDirectory() as folder, SlurmLab(2, registry=True) as slurm:
        for host in (*slurm.hosts, slurm.login):
            host.root("/usr/local/lib/spank_pyxis.so").write_bytes(plugin.read_bytes())
            line = "required /usr/local/lib/spank_pyxis.so runtime_path=/run/pyxis\n"
            host.root("/etc/slurm/plugstack.conf").write_text(line)
            host.run("mkdir", "-p", "/run/pyxis")
        # Jobs of the lab are root's, which enroot has to be told to allow.
        allowed = ["--export=ALL,ENROOT_ALLOW_SUPERUSER=yes"]
        torch = REPOSITORY / ".venv-torch" / "bin" / "python"
        install(slurm)
        digest = push(slurm, Path(folder))
        run = play(slurm, Path(folder) / "run", torch, "pyxis", deepep_slurm_sbatch_args=allowed)
        check(slurm, run, digest)
        print("PASS")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
