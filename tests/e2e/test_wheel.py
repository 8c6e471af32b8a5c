"""What ``pip install`` gives works outside of the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.e2e.conftest import REPOSITORY

INVENTORY = """
all:
  hosts:
    node1: {ansible_host: 192.0.2.1}
    node2: {ansible_host: 192.0.2.2}
  vars:
    deepep_container_runtime: none
    deepep_backend: nccl
    deepep_python: /opt/torch/bin/python
"""


def test_the_wheel_carries_all_that_the_compiler_needs(tmp_path: Path) -> None:
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            str(tmp_path),
            str(REPOSITORY),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (tmp_path / "hosts.yml").write_text(INVENTORY, encoding="utf-8")
    example = site / "compiler" / "_resources" / "examples" / "deepep-benchmark" / "scenario.toml"

    def compiler(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "compiler", *argv],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            check=False,
        )

    compiled = compiler(
        "compile", str(example), "-i", "hosts.yml", "-e", "deepep_gpus_per_node=8", "-o", "bundle"
    )
    assert compiled.returncode == 0, compiled.stderr
    checked = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "--syntax-check", "site.yml"],
        cwd=tmp_path / "bundle",
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    schema = compiler("schema", "scenario")
    assert schema.returncode == 0
    assert '"$schema"' in schema.stdout
