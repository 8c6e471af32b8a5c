"""The schemas themselves: valid, documented, and telling the truth about defaults and examples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import jsonschema
import pytest

from compiler.scenario.model import Arguments
from compiler.schema import store
from compiler.schema.authority import _registry, validator

NAMES = ("test.DeepEPBenchmark", "scenario", "system", "common", "diagnostics", "settings")
DOCUMENTED = tuple(name for name in NAMES if name != "common")


def described(name: str, schema: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    base, schema = store.flat(name, schema)
    for key, value in schema.get("properties", {}).items():
        yield f"{path}.{key}", *store.flat(base, value)
        yield from described(base, value, f"{path}.{key}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from described(base, schema[keyword], f"{path}[]")


@pytest.mark.parametrize("name", NAMES)
def test_is_valid_json_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(store.load(name))


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_property_is_documented(name: str) -> None:
    for path, _, schema in described(name, store.load(name)):
        assert schema.get("title"), path
        assert schema.get("description"), path


@pytest.mark.parametrize("name", ("test.DeepEPBenchmark", "scenario", "system"))
def test_defaults_and_examples_are_valid(name: str) -> None:
    checked = 0
    for path, base, schema in described(name, store.load(name)):
        values = schema.get("examples", []) + ([schema["default"]] if "default" in schema else [])
        for value in values:
            alone = {**schema, "$defs": store.load(base).get("$defs", {})}
            errors = list(type(validator(base))(alone, registry=_registry()).iter_errors(value))
            assert not errors, (path, value, errors[0].message)
            checked += 1
    assert checked > 20


def test_arguments_are_those_of_the_schema_in_its_order() -> None:
    assert list(store.properties("test.DeepEPBenchmark", "/properties/cmd_args")) == [
        field.name for field in fields(Arguments)
    ]


def test_automatic_arguments_have_no_default() -> None:
    arguments = store.properties("test.DeepEPBenchmark", "/properties/cmd_args")
    assert "default" not in arguments["num_sms"]
    assert "default" not in arguments["num_qps_per_rank"]


def test_bundled_schema_needs_no_other_file() -> None:
    schema = store.bundled("scenario")
    entry = {"id": "a", "test_template_name": "DeepEPBenchmark", "cmd_args": {"tokenz": 1}}
    found = list(jsonschema.Draft202012Validator(schema).iter_errors({"name": "x", "Tests": [entry]}))
    assert [error.validator for error in found] == ["additionalProperties"]
