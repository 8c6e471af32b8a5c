"""What switches rules off: for ``lint`` and for the commands that make a plan. Places are in the tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compiler.cli.main import run
from tests.scenario.builder import entry, load

LISTING = {
    "_meta": {
        "hostvars": {
            name: {
                "ansible_connection": "local",
                "deepep_container_runtime": "none",
                "deepep_backend": "gloo",
                "deepep_gpus_per_node": 2,
                "deepep_python": "/opt/torch/bin/python",
            }
            for name in ("n1", "n2")
        }
    },
    "all": {"children": ["ungrouped"]},
    "ungrouped": {"hosts": ["n1", "n2"]},
}


def plan(folder: Path, *options: str) -> int:
    (folder / "inventory.json").write_text(json.dumps(LISTING), encoding="utf-8")
    scenario = str(folder / "scenario.toml")
    return run(["plan", scenario, "--inventory-json", str(folder / "inventory.json"), *options])


def test_a_kernels_limit_stops_a_plan_unless_it_is_ignored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(tmp_path, entry("num_nodes = 2"), "[cmd_args]\nnum_experts = 250\n")
    assert plan(tmp_path) == 1
    assert "experts-not-divisible" in capsys.readouterr().err
    assert plan(tmp_path, "--ignore", "DEP301") == 0
    assert capsys.readouterr().err == ""
    load(tmp_path, entry("num_nodes = 2"), "[cmd_args]\nnum_experts = 250 # noqa: DEP301\n")
    assert plan(tmp_path) == 0
    load(tmp_path, entry("num_nodes = 2"), "[cmd_args]\nnum_experts = 250\n")
    (tmp_path / "deepep-compiler.toml").write_text('ignore = ["DEP301"]\n', encoding="utf-8")
    assert plan(tmp_path) == 0


def test_what_prevents_a_plan_cannot_be_ignored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(tmp_path, entry("num_nodes = 3"))
    assert plan(tmp_path, "--ignore", "too-few-hosts") == 1
    said = capsys.readouterr().err
    assert "too-few-hosts" in said
    assert "cannot be switched off" in said


def test_a_workload_that_lint_leaves_alone_is_an_error_for_a_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(tmp_path, entry())
    test = tmp_path / "tests" / "standard.toml"
    test.write_text(test.read_text(encoding="utf-8").replace("DeepEPBenchmark", "NcclTest"), encoding="utf-8")
    assert run(["lint", str(tmp_path)]) == 0
    assert "not checked, this version knows" in capsys.readouterr().out
    assert plan(tmp_path) == 1
    assert "error[DEP211]" in capsys.readouterr().err


def test_assumptions_check_for_the_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(tmp_path, entry("num_nodes = 2"), "[cmd_args]\nhidden_size = 8192\n")
    assert plan(tmp_path) == 0
    assert plan(tmp_path, "--assume-backend", "deepep_v1") == 1
    said = capsys.readouterr().err
    assert "error[DEP328]" in said
    assert plan(tmp_path, "--assume-backend", "deepep_v1", "--assume-ranks-per-host", "4") == 1
    assert "error[DEP314]" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [("--ignore", "DEP999"), ("--select", "no-such-rule"), ("--assume-ranks-per-host", "0")],
)
def test_wrong_options(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, str]) -> None:
    load(tmp_path, entry())
    assert run(["lint", str(tmp_path), *options]) == 2
    assert options[0] in capsys.readouterr().err
    assert plan(tmp_path, *options) == 2


def test_strict_in_a_project_file(tmp_path: Path) -> None:
    load(tmp_path, entry("weight = 3"))
    assert run(["lint", str(tmp_path)]) == 0
    (tmp_path / "pyproject.toml").write_text("[tool.deepep-compiler]\nstrict = true\n", encoding="utf-8")
    assert run(["lint", str(tmp_path)]) == 1


def test_a_project_file_is_checked_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "deepep-compiler.toml"
    path.write_text('ignore = ["DEP301"]\n', encoding="utf-8")
    assert run(["lint", str(path)]) == 0
    path.write_text("ignore = 3\n", encoding="utf-8")
    assert run(["lint", str(path)]) == 1
    assert "wrong-type" in capsys.readouterr().out
