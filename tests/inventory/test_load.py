"""Inventories as users have them, read by the real ``ansible-inventory``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from compiler.diagnostics.codes import code_of
from compiler.inventory import load
from compiler.inventory.load import load_inventory, load_inventory_json
from compiler.runner.ansible import AnsibleMissingError

VAULT = Path(sys.executable).with_name("ansible-vault")


def yaml_inventory(folder: Path) -> str:
    folder.mkdir()
    (folder / "hosts.yml").write_text(
        "all:\n  children:\n    GAIA:\n      hosts:\n        n2:\n        n1:\n"
        "  vars:\n    deepep_backend: gloo\n    deepep_python: '{{ inventory_dir }}/bin/python'\n"
    )
    (folder / "group_vars").mkdir()
    (folder / "group_vars" / "GAIA.yml").write_text("deepep_gpus_per_node: 2\n")
    return str(folder)


def test_a_directory(tmp_path: Path) -> None:
    inventory, findings = load_inventory([yaml_inventory(tmp_path / "inv")])
    assert inventory is not None, findings
    assert list(inventory.hosts) == ["n2", "n1"]
    assert inventory.groups["GAIA"] == ("n2", "n1")
    assert inventory.hosts["n1"].settings.gpus_per_node == 2
    assert inventory.hosts["n1"].settings.python == f"{tmp_path}/inv/bin/python"


def test_extra_variables_win_in_each_of_ansibles_forms(tmp_path: Path) -> None:
    source = yaml_inventory(tmp_path / "inv")
    (tmp_path / "extra.yml").write_text("deepep_master_interface: eth7\n")
    inventory, findings = load_inventory(
        [source], (), ["deepep_gpus_per_node=4", '{"deepep_env": {"A": "b c"}}', f"@{tmp_path}/extra.yml"]
    )
    assert inventory is not None, findings
    settings = inventory.hosts["n1"].settings
    assert (settings.gpus_per_node, dict(settings.env), settings.master_interface) == (
        4,
        {"A": "b c"},
        "eth7",
    )


def test_ini(tmp_path: Path) -> None:
    path = tmp_path / "hosts.ini"
    path.write_text("[GAIA]\nn[1:3] deepep_gpus_per_node=2\n[GAIA:vars]\ndeepep_cache_images_locally=true\n")
    inventory, findings = load_inventory([str(path)])
    assert inventory is not None, findings
    assert list(inventory.hosts) == ["n1", "n2", "n3"]
    assert inventory.hosts["n3"].settings.gpus_per_node == 2
    assert inventory.hosts["n3"].settings.cache_images_locally is True


def test_a_script(tmp_path: Path) -> None:
    path = tmp_path / "dynamic"
    listing = {"g": {"hosts": ["b", "a"]}, "_meta": {"hostvars": {"a": {"deepep_backend": "nccl"}}}}
    path.write_text(f"#!{sys.executable}\nimport json\nprint(json.dumps({listing!r}))\n")
    path.chmod(0o755)
    inventory, findings = load_inventory([str(path)])
    assert inventory is not None, findings
    assert list(inventory.hosts) == ["b", "a"]
    assert inventory.hosts["a"].settings.backend == "nccl"


def test_host_names_with_a_comma() -> None:
    inventory, findings = load_inventory(["x,y"])
    assert inventory is not None, findings
    assert list(inventory.hosts) == ["x", "y"]


def test_a_vault_of_connection_secrets_stays_out(tmp_path: Path) -> None:
    source = yaml_inventory(tmp_path / "inv")
    (tmp_path / "password").write_text("open sesame\n")
    secret = tmp_path / "inv" / "group_vars" / "all.yml"
    secret.write_text("ansible_become_password: hush-hush\n")
    vault_args = ("--vault-password-file", str(tmp_path / "password"))
    subprocess.run([VAULT, "encrypt", *vault_args, secret], check=True, capture_output=True)

    inventory, findings = load_inventory([source], vault_args)
    assert inventory is not None, findings
    assert "hush" not in repr(inventory)

    inventory, findings = load_inventory([source])
    assert inventory is None
    assert findings[0].code == "DEP601"
    assert "vault" in findings[0].message.lower()


@pytest.mark.parametrize(
    ("text", "slug", "says"),
    [
        (None, "inventory-unreadable", "does not exist"),
        ("a: [", "inventory-unreadable", "cannot read"),
        ("all: {}\n", "inventory-empty", "has no hosts"),
    ],
)
def test_refused(tmp_path: Path, text: str | None, slug: str, says: str) -> None:
    path = tmp_path / "hosts.yml"
    if text is not None:
        path.write_text(text)
    inventory, findings = load_inventory([str(path)])
    assert inventory is None
    code = code_of(findings[0].code)
    assert code is not None
    assert code.slug == slug
    assert says in findings[0].message
    assert findings[0].fix


def test_ansible_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Path:
        raise AnsibleMissingError(f"{name} is not installed: pip install 'ansible-core>=2.18'")

    monkeypatch.setattr(load, "executable", missing)
    inventory, findings = load_inventory(["a,"])
    assert inventory is None
    assert "ansible-inventory is not installed" in findings[0].message


def test_a_listing_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "listing.json"
    path.write_text(
        json.dumps({"_meta": {"hostvars": {"a": {}}}, "all": {"children": ["g"]}, "g": {"hosts": ["a"]}})
    )
    inventory, _ = load_inventory_json(path)
    assert inventory is not None
    assert list(inventory.hosts) == ["a"]
    path.write_text("all:\n")
    assert load_inventory_json(path)[1][0].code == "DEP601"
    assert load_inventory_json(tmp_path / "none")[1][0].code == "DEP601"
