"""A plan for people, and the commands that print it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from compiler.cli.main import run
from compiler.plan import support
from compiler.plan.build import build_plan
from compiler.plan.show import duration, lines
from compiler.schema.store import load
from tests.plan.samples import case, entry, inventory, scenario

TEST = """name = "t"
description = "d"
test_template_name = "DeepEPBenchmark"
[cmd_args]
num_experts = 16
"""

LISTING = {
    "_meta": {
        "hostvars": {
            "n1": {
                "ansible_connection": "local",
                "deepep_container_runtime": "none",
                "deepep_backend": "gloo",
                "deepep_gpus_per_node": 2,
                "deepep_python": "/opt/python",
            }
        }
    },
    "all": {"children": ["g"]},
    "g": {"hosts": ["n1"]},
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "t.toml").write_text(TEST)
    (tmp_path / "scenario.toml").write_text(
        'name = "s"\n[[Tests]]\nid = "a"\ntest_name = "t"\nnum_nodes = 1\ntime_limit = "00:10:00"\n'
    )
    (tmp_path / "inventory.json").write_text(json.dumps(LISTING))
    return tmp_path


def arguments(files: Path, command: str, *more: str) -> list[str]:
    return [command, str(files / "scenario.toml"), "--inventory-json", str(files / "inventory.json"), *more]


@pytest.mark.parametrize(("seconds", "text"), [(5, "00:00:05"), (3661, "01:01:01"), (90061, "1-01:01:01")])
def test_duration(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_lines_hold_nothing_that_confuses_a_terminal() -> None:
    hostile = "\x1b[31m\u202e{{ x }}\r\n$(id)" + "x" * 10000
    plan, _ = build_plan(scenario(entry("a", case(env={"X": hostile}), description=hostile)), inventory())
    assert plan is not None
    shown = list(lines(plan, explain_hosts=True))
    assert all(line.isprintable() for line in shown)
    assert max(map(len, shown)) < 2000
    assert any("{{ x }}" in line for line in shown)


def test_plan(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments(files, "plan", "--explain-hosts")) == 0
    shown = capsys.readouterr().out
    assert "a/0  t" in shown
    assert "the first host of the inventory" in shown
    assert "1 x 2 = 2" in shown
    assert "at most 00:10:00" in shown
    assert "torch.distributed.run" in shown


def test_plan_as_json(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments(files, "plan", "--format", "json")) == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), dict(load("plan")))


def test_findings_of_scenario_and_inventory_come_together(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "scenario.toml").write_text(
        'name = "s"\n[[Tests]]\nid = "a"\ntest_name = "none"\nnum_nodes = 1\n'
    )
    (files / "inventory.json").write_text(json.dumps(LISTING).replace("deepep_backend", "deepep_bakcend"))
    assert run(arguments(files, "plan")) == 1
    shown = capsys.readouterr().err
    assert "DEP201" in shown
    assert "DEP603" in shown


def test_an_inventory_is_required(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("plan", "compile"):
        assert run([command, str(files / "scenario.toml")]) == 2
        assert "--inventory" in capsys.readouterr().err


def test_compile_writes_nothing_where_something_cannot_run(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(support, "RUNS_TODAY", [("deepep_backend", lambda plan, run: run.backend, ())])
    assert run(arguments(files, "compile", "-o", str(files / "bundle"))) == 1
    assert "DEP410" in capsys.readouterr().err
    assert sorted(path.name for path in files.iterdir()) == ["inventory.json", "scenario.toml", "tests"]


def test_warnings_travel_in_the_plan_without_paths(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "tests" / "t.toml").write_text(TEST + '[extra_env_vars]\nA = "$(id)"\n')
    assert run(arguments(files, "compile", "-o", str(files / "bundle"))) == 0
    capsys.readouterr()
    warnings = json.loads((files / "bundle" / "plan.json").read_text())["warnings"]
    assert len(warnings) == 1
    assert warnings[0].startswith("DEP402 t.toml: ")
    assert str(files) not in (files / "bundle" / "plan.json").read_text()
