"""The authority on what a schema allows: ``jsonschema``, told TOML's types. Imported only when needed."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import jsonschema
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from compiler.schema import store


def _is_integer(_: object, value: object) -> bool:
    return type(value) is int  # TOML tells 1 from 1.0


def _is_number(_: object, value: object) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


_TYPES = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
    {"integer": _is_integer, "number": _is_number}
)
_Validator: type[Validator] = extend(jsonschema.Draft202012Validator, type_checker=_TYPES)  # type: ignore[no-untyped-call]


@cache
def _registry() -> Registry[Any]:
    return Registry().with_resources((f"{name}.schema.json", _resource(name)) for name in store.names())


def _resource(name: str) -> Resource[Any]:
    # With "$schema" in it, jsonschema would go on with its own class and forget our types.
    contents = {key: value for key, value in store.load(name).items() if key != "$schema"}
    return DRAFT202012.create_resource(contents)


@cache
def validator(name: str, pointer: str = "") -> Validator:
    """Returns the validator for the schema at ``pointer`` of a schema file."""
    return _Validator({"$ref": f"{name}.schema.json#{pointer}"}, registry=_registry())
