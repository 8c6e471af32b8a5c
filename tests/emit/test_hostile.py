"""Whatever a TOML holds: it reaches plan.json byte for byte, and no YAML at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from compiler.emit.bundle import emit_bundle
from compiler.emit.yaml_text import key, value
from compiler.plan.build import build_plan
from tests.emit.bundles import content
from tests.plan.samples import case, entry, inventory, scenario

HOSTILE = [
    "\"; touch pwned; '",
    "$(touch pwned)",
    "`touch pwned`",
    "{{ lookup('pipe', 'touch pwned') }}",
    "{% raw %}{# #}",
    "!unsafe &anchor *alias",
    "line\nbreak\r\n---\n- hosts: all",
    "tab\tand \x1b[31m and \x7f\x85\u2028\ufeff",
    "ü € 汉 🚀 \u202e",
    "marker " + "x" * 10000,
    "$HOME ${HOME} $$ \\$",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_texts_are_in_the_plan_only(tmp_path: Path, text: str) -> None:
    made = entry(
        "a",
        case(env={"HOSTILE": text}, docker_image_url=text, results_dir=text),
        test_name=text,
        description=text,
        extra_container_mounts=(text,),
        definition={"name": text},
    )
    hosts = inventory(deepep_container_runtime="docker", deepep_program="image")
    plan, findings = build_plan(scenario(made), hosts)
    assert plan is not None, findings
    emit_bundle(plan, hosts, tmp_path / "b")

    run = json.loads((tmp_path / "b" / "plan.json").read_bytes())["runs"][0]
    assert run["env"]["HOSTILE"] == text
    assert (run["test_name"], run["description"], run["image"], run["mounts"][-1]) == (text, text, text, text)
    assert run["test_definition"]["name"] == text

    plain, _ = build_plan(scenario(entry("a", case(docker_image_url="r#i:t"))), hosts)
    assert plain is not None
    emit_bundle(plain, hosts, tmp_path / "plain")
    hostile, harmless = content(tmp_path / "b"), content(tmp_path / "plain")
    differing = {name for name, data in hostile.items() if harmless.get(name) != data}
    assert differing == {"plan.json", "manifest.json"}


@pytest.mark.parametrize(
    "text", [*HOSTILE, "", "yes", "null", "1e3", "0x1f", "~", "a: b", "- a", "#", "2020-01-01"]
)
def test_inventory_values_survive_yaml(text: str) -> None:
    assert yaml.safe_load(f"k: {value(text)}\n") == {"k": text}
    assert yaml.safe_load(f"- {key(text)}\n") == [text]
    name = text[:255]  # hosts' names are no longer, and YAML has a limit for keys
    assert yaml.safe_load(f"{key(name)}: 1\n") == {name: 1}


@pytest.mark.parametrize("data", [None, True, 3, 2.5, ["a", {"b": "c: d"}], {"e": [1, None]}])
def test_other_inventory_values_survive_yaml(data: object) -> None:
    assert yaml.safe_load(f"k: {value(data)}\n") == {"k": data}
