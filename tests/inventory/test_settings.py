"""Inventory variables: what is read, what is refused, what never is."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from compiler.diagnostics.codes import code_of
from compiler.diagnostics.model import Diagnostic, Severity
from compiler.inventory.listing import read_listing
from compiler.inventory.model import Host, Inventory
from compiler.schema.store import load


def read(
    directories: tuple[str, ...] = ("/inv",), **hostvars: object
) -> tuple[Inventory | None, list[Diagnostic]]:
    listing = {
        "_meta": {"hostvars": {"h1": hostvars, "h2": hostvars}},
        "all": {"children": ["g"]},
        "g": {"hosts": ["h1", "h2"]},
    }
    return read_listing(listing, "inv", [Path(directory) for directory in directories])


def host(**hostvars: object) -> Host:
    inventory, findings = read(**hostvars)
    assert inventory is not None, findings
    return inventory.hosts["h1"]


def only(findings: list[Diagnostic]) -> tuple[str, str, str]:
    assert len(findings) == 1, findings
    code = code_of(findings[0].code)
    assert code is not None
    return code.slug, findings[0].message, findings[0].fix


def test_the_schema_is_a_schema_and_its_defaults_fit() -> None:
    schema = dict(load("inventory"))
    jsonschema.Draft202012Validator.check_schema(schema)
    for rule in schema["properties"].values():  # type: ignore[union-attr]
        assert rule["title"]
        assert rule["description"]
        if "default" in rule:
            jsonschema.validate(rule["default"], rule)


def test_defaults() -> None:
    settings = host().settings
    assert (settings.launcher, settings.container_runtime, settings.program) == ("ssh", "docker", "bundled")
    assert (settings.backend, settings.gpus_per_node, settings.python) == ("deepep", 8, None)
    assert (settings.registries, settings.container_mounts, dict(settings.env)) == ((), (), {})


@pytest.mark.parametrize(
    ("variable", "value", "field", "wanted"),
    [
        ("deepep_gpus_per_node", 4, "gpus_per_node", 4),
        # -e name=value and INI inventories give texts.
        ("deepep_gpus_per_node", "4", "gpus_per_node", 4),
        ("deepep_cache_images_locally", "yes", "cache_images_locally", True),
        ("deepep_cache_images_locally", False, "cache_images_locally", False),
        ("deepep_env", {"A": "$HOME x", "N": 3}, "env", {"A": "$HOME x", "N": "3"}),
        ("deepep_container_mounts", ["/a:/b", "/c:/d:ro"], "container_mounts", ("/a:/b", "/c:/d:ro")),
        ("deepep_python", "{{ inventory_dir }}/venv/bin/python", "python", "/inv/venv/bin/python"),
        ("deepep_work_dir", "{{inventory_dir}}/w", "work_dir", "/inv/w"),
        ("deepep_registries", [{"registry": "r", "password": "{{ vault }}"}], "registries", ("r",)),
        ("deepep_master_interface", "eth0", "master_interface", "eth0"),
        ("deepep_master_address", "192.0.2.7", "master_address", "192.0.2.7"),
        ("deepep_backend", None, "backend", "deepep"),
    ],
)
def test_values(variable: str, value: object, field: str, wanted: object) -> None:
    assert getattr(host(**{variable: value}).settings, field) == wanted


@pytest.mark.parametrize(
    ("variable", "value", "slug", "says"),
    [
        ("deepep_bakcend", "gloo", "unknown-inventory-variable", "deepep_bakcend"),
        ("deepep_backend", "glo", "bad-inventory-value", "'glo'"),
        ("deepep_gpus_per_node", 0, "bad-inventory-value", "from 1"),
        ("deepep_gpus_per_node", True, "bad-inventory-value", "True"),
        ("deepep_gpus_per_node", "8 ", "bad-inventory-value", "'8 '"),
        ("deepep_gpus_per_node", "9" * 5000, "bad-inventory-value", "whole number"),
        ("deepep_cache_images_locally", "perhaps", "bad-inventory-value", "true or false"),
        ("deepep_python", "bin/python", "bad-inventory-value", "absolute path"),
        ("deepep_python", "", "bad-inventory-value", "a text"),
        ("deepep_python", "{{ venv }}/bin/python", "inventory-value-not-literal", "template"),
        ("deepep_backend", "{{ inventory_dir }}", "inventory-value-not-literal", "template"),
        ("deepep_env", {"A": "{{ secret }}"}, "inventory-value-not-literal", "template"),
        ("deepep_env", {"A": True}, "bad-inventory-value", "deepep_env.A"),
        ("deepep_env", {"A-B": "x"}, "bad-inventory-value", "A-B"),
        ("deepep_env", {"A": "x\0y"}, "bad-inventory-value", "NUL"),
        ("deepep_env", ["A=1"], "bad-inventory-value", "mapping"),
        ("deepep_env", {"__ansible_vault": "$ANSIBLE_VAULT"}, "inventory-value-not-literal", "encrypted"),
        ("deepep_master_address", "node1", "bad-inventory-value", "an IPv4 address"),
        ("deepep_container_mounts", ["/a"], "bad-inventory-value", "mount"),
        ("deepep_container_mounts", "/a:/b", "bad-inventory-value", "list"),
        ("deepep_registries", [{"username": "u"}], "bad-inventory-value", "list of registries"),
        ("deepep_registries", [{"registry": "r", "token": "hush"}], "bad-inventory-value", "token"),
    ],
)
def test_refused(variable: str, value: object, slug: str, says: str) -> None:
    inventory, findings = read(**{variable: value})
    assert inventory is None
    found, message, fix = only(findings)
    assert found == slug
    assert says in message
    assert message.startswith("hosts h1, h2: ")
    assert fix


def test_nearest_names() -> None:
    assert "did you mean deepep_backend?" in only(read(deepep_bakcend="gloo")[1])[2]
    assert "did you mean gloo?" in only(read(deepep_backend="glo")[1])[2]


def test_several_inventories_have_no_common_directory() -> None:
    inventory, findings = read(("/a", "/b"), deepep_python="{{ inventory_dir }}/python")
    assert inventory is None
    assert "absolute path" in only(findings)[2]


def test_secrets_are_never_read() -> None:
    secret = "hush-hush"  # noqa: S105
    inventory, findings = read(
        ansible_password=secret,
        ansible_ssh_pass=secret,
        ansible_become_password=secret,
        ansible_ssh_private_key=secret,
        my_token=secret,
        deepep_registries=[{"registry": "r", "username": secret, "password": secret}],
    )
    assert inventory is not None
    assert findings == []
    assert secret not in repr(inventory)


def test_a_wrong_registry_is_not_shown() -> None:
    _, findings = read(deepep_registries=[{"password": "hush-hush"}])
    assert "hush" not in repr(findings)


def test_connection_variables_travel_as_they_are() -> None:
    found = host(
        ansible_host="{{ inventory_hostname }}.lan", ansible_port=2222, ansible_user="bench", other="x"
    )
    assert found.variables == {
        "ansible_host": "{{ inventory_hostname }}.lan",
        "ansible_port": 2222,
        "ansible_user": "bench",
    }


def test_inventory_dir_of_a_connection_variable_is_replaced() -> None:
    found = host(ansible_ssh_private_key_file="{{ inventory_dir }}/keys/id")
    assert found.variables["ansible_ssh_private_key_file"] == "/inv/keys/id"


def test_a_template_that_needs_another_variable_is_a_warning() -> None:
    inventory, findings = read(ansible_host="{{ addresses[inventory_hostname] }}")
    assert inventory is not None
    assert findings[0].severity is Severity.WARNING
    assert only(findings)[0] == "template-needs-variable"
    assert "needs addresses" in findings[0].message


def test_an_ansible_variable_that_does_not_travel_is_a_warning() -> None:
    inventory, findings = read(ansible_winrm_scheme="http")
    assert inventory is not None
    assert only(findings)[0] == "variable-not-carried"


def test_local_hosts_are_one_machine() -> None:
    assert host(ansible_connection="local").settings.one_machine == "controller"
    assert host(ansible_connection="local", deepep_one_machine="box").settings.one_machine == "box"
    assert host().settings.one_machine is None


def test_groups_keep_their_order_and_children_follow() -> None:
    listing = {
        "_meta": {"hostvars": {}},
        "all": {"children": ["ungrouped", "top", "a"]},
        "top": {"children": ["b", "a"], "hosts": ["h9"]},
        "a": {"hosts": ["h2", "h1"]},
        "b": {"hosts": ["h3", "h1"]},
    }
    inventory, _ = read_listing(listing, "inv", [Path("/inv")])
    assert inventory is not None
    assert list(inventory.hosts) == ["h9", "h3", "h1", "h2"]
    assert inventory.groups["top"] == ("h9", "h3", "h1", "h2")
    assert inventory.groups["a"] == ("h2", "h1")
    assert inventory.hosts["h1"].groups == ("top", "b", "a")


def test_no_hosts() -> None:
    inventory, findings = read_listing({"_meta": {"hostvars": {}}, "all": {}}, "inv", [])
    assert inventory is None
    assert only(findings)[0] == "inventory-empty"
