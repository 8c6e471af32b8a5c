"""CloudAI's system TOML as an inventory: for ``lint``, and written out by ``import-system``."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.cli.main import run
from compiler.document.model import Document
from compiler.document.read import read_document
from compiler.inventory.load import load_inventory
from compiler.inventory.system import system_to_inventory

SYSTEM = """
name = "GAIA cluster"
scheduler = "slurm"
install_path = "/shared/install"
output_path = "./results"
default_partition = "GAIA"
mpi = "pmix"
gpus_per_node = 4
cache_docker_images_locally = true
account = "team"
monitor_interval = 5
ntasks_per_node = 8
extra_srun_args = "--reservation 'of the team' --cpu-bind=none"
extra_sbatch_args = ["--mem=0"]
container_mount_home = true

[[partitions]]
name = "GAIA"
  [[partitions.groups]]
  name = "standard_nodes"
  nodes = ["node-[001-003]", "spare"]
  [[partitions.groups]]
  name = "small"
  nodes = ["node-002"]
[[partitions]]
name = "flat"
  [[partitions.groups]]
  name = "flat"
  nodes = ["x[1-2]"]

[global_env_vars]
NCCL_IB_GID_INDEX = "3"
NUMBER = 7
TABLE = {default = "d: {# e"}
"""


def document(tmp_path: Path, text: str = SYSTEM) -> Document:
    path = tmp_path / "system.toml"
    path.write_text(text)
    found = read_document(path)
    assert isinstance(found, Document)
    return found


def test_it_stands_in_for_an_inventory(tmp_path: Path) -> None:
    inventory, findings = system_to_inventory(document(tmp_path, SYSTEM.replace("{# e", "e")))
    assert findings == []
    assert inventory is not None
    assert list(inventory.hosts) == ["node-001", "node-002", "node-003", "spare", "x1", "x2"]
    assert inventory.groups["GAIA"] == ("node-001", "node-002", "node-003", "spare")
    assert inventory.groups["small"] == ("node-002",)
    assert inventory.groups["flat"] == ("x1", "x2")
    settings = inventory.hosts["node-001"].settings
    assert (settings.launcher, settings.gpus_per_node, settings.cache_images_locally) == ("slurm", 4, True)
    assert dict(settings.env) == {"NCCL_IB_GID_INDEX": "3", "NUMBER": "7", "TABLE": "d: e"}


def test_import_system_reads_back_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read = document(tmp_path, SYSTEM.replace("{# e", "e"))
    target = tmp_path / "inventory"
    assert run(["import-system", str(read.path), "-o", str(target)]) == 0
    warned = capsys.readouterr().err
    assert "output_path is not carried" in warned  # it is relative
    assert "ntasks_per_node is not carried" in warned
    for key in ("account", "mpi", "default_partition", "monitor_interval", "extra_srun_args"):
        assert f"{key} is not carried" not in warned
    assert "install_path is not carried" not in warned

    written, findings = load_inventory([str(target)])
    assert written is not None, findings
    direct, _ = system_to_inventory(read)
    assert direct is not None
    assert {name: (host.settings, host.groups) for name, host in written.hosts.items()} == {
        name: (host.settings, host.groups) for name, host in direct.hosts.items()
    }
    assert {name: members for name, members in written.groups.items() if name != "ungrouped"} == {
        name: members for name, members in direct.groups.items() if name != "ungrouped"
    }


def test_what_becomes_of_settings_of_slurm(tmp_path: Path) -> None:
    inventory, findings = system_to_inventory(
        document(tmp_path, SYSTEM.replace("{# e", "e").replace("./results", "/shared/results"))
    )
    assert findings == []
    assert inventory is not None
    slurm = inventory.hosts["node-001"].settings.slurm
    assert (slurm.login, slurm.partition, slurm.account, slurm.mpi) == ("localhost", "GAIA", "team", "pmix")
    assert slurm.srun_args == ("--reservation", "of the team", "--cpu-bind=none", "--container-mount-home")
    assert slurm.sbatch_args == ("--mem=0",)
    assert (slurm.poll_s, slurm.shared_dir, slurm.gpu_request) == (5, "/shared/results", "gres")
    # Hosts that are in no other partition than theirs run their jobs there.
    assert inventory.hosts["x1"].settings.slurm.partition == "flat"
    no_gpus, _ = system_to_inventory(document(tmp_path, SYSTEM.replace("gpus_per_node = 4\n", "")))
    assert no_gpus is None or no_gpus.hosts["x1"].settings.slurm.gpu_request == "none"
    _, findings = system_to_inventory(document(tmp_path, SYSTEM.replace("--cpu-bind=none", "'")))
    assert [found.message for found in findings] == [
        "extra_srun_args cannot be split into words: No closing quotation"
    ]


def test_a_standalone_system_is_this_machine(tmp_path: Path) -> None:
    text = 'name = "here"\nscheduler = "standalone"\ninstall_path = "i"\noutput_path = "o"\n'
    inventory, _ = system_to_inventory(document(tmp_path, text))
    assert inventory is not None
    assert inventory.hosts["localhost"].connection == "local"


def test_bad_ranges_and_full_directories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read = document(tmp_path, SYSTEM.replace("node-[001-003]", "node-[003-001]"))
    assert run(["import-system", str(read.path), "-o", str(tmp_path / "inventory")]) == 1
    error = capsys.readouterr().err
    assert "runs backwards" in error
    assert ":21:" in error
    assert not (tmp_path / "inventory").exists()

    read = document(tmp_path)
    assert run(["import-system", str(read.path), "-o", str(tmp_path)]) == 1
    assert "not empty" in capsys.readouterr().err


def test_equal_group_names_in_two_partitions_are_a_warning(tmp_path: Path) -> None:
    text = SYSTEM.replace('name = "flat"\n  nodes', 'name = "small"\n  nodes').replace(
        '["x[1-2]"]', '["node-003"]'
    )
    inventory, findings = system_to_inventory(document(tmp_path, text.replace("{# e", "e")))
    assert inventory is not None
    assert any("GAIA:small has 1 hosts here and 2" in found.message for found in findings)


def test_an_unreadable_system(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import-system", str(tmp_path / "none.toml"), "-o", str(tmp_path / "x")]) == 1
    assert "DEP101" in capsys.readouterr().err
