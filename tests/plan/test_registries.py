"""Whether a plan's registries have credentials on this machine: told by name, without reading a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compiler.inventory.listing import read_listing
from compiler.plan.build import build_plan
from compiler.registries import lines
from compiler.scenario.load import load_scenario

TEST = """
name = "t"
description = "d"
test_template_name = "DeepEPBenchmark"
[cmd_args]
docker_image_url = "Reg.Example:5000/team/deepep:1"
"""
SCENARIO = """
name = "s"
[[Tests]]
id = "Tests.1"
test_name = "t"
"""


@pytest.mark.parametrize(
    ("registries", "files", "environment", "words"),
    [
        ([], {}, {}, "no credentials are known here"),
        ([{"registry": "https://reg.example:5000", "username": "u", "password": "secret-word"}], {}, {},
         "credentials from deepep_registries"),
        ([], {}, {"DEEPEP_REGISTRY_REG_EXAMPLE_5000_PASSWORD": "secret-word"},
         "credentials from $DEEPEP_REGISTRY_REG_EXAMPLE_5000_PASSWORD"),
        ([], {".config/enroot/.credentials": "machine reg.example login u password secret-word"}, {},
         "credentials from this user's files"),
        ([], {".docker/config.json": json.dumps({"credsStore": "desktop"})}, {}, "credential store"),
        ([], {".docker/config.json": "{"}, {}, "config.json is no JSON"),
    ],
)  # fmt: skip
def test_where_credentials_come_from(
    tmp_path: Path,
    registries: list[dict[str, str]],
    files: dict[str, str],
    environment: dict[str, str],
    words: str,
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/t.toml").write_text(TEST.replace("Reg.Example", "reg.example"))
    (tmp_path / "scenario.toml").write_text(SCENARIO)
    variables = {"deepep_registries": registries, "deepep_container_runtime": "podman"}
    listing = {"_meta": {"hostvars": {"node1": variables}}, "all": {"hosts": ["node1"]}}
    inventory, _ = read_listing(listing, "test", [tmp_path])
    scenario, _ = load_scenario(tmp_path / "scenario.toml", tmp_path / "tests")
    assert inventory is not None
    assert scenario is not None
    plan, _ = build_plan(scenario, inventory)
    assert plan is not None
    home = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), **environment}
    (line,) = lines(plan, inventory, home)
    assert line.startswith("registry reg.example:5000: ")
    assert words in line
    assert "secret-word" not in line
