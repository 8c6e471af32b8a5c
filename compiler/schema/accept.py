"""A fast way to say "certainly valid".

Loading ``jsonschema`` takes longer than checking a thousand files. Schemas are therefore compiled to closures
that answer True only where ``jsonschema`` would find nothing; False means "ask jsonschema", which is the
authority and the only source of messages. A keyword that is not known here makes its schema "ask" always.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import cast

from compiler.schema.store import Schema, resolve

Accepts = Callable[[object], bool]
_Maker = Callable[[str, Schema], Accepts]

_ANNOTATIONS = frozenset(
    {"$schema", "$id", "$defs", "$comment", "title", "description", "default", "examples", "deprecated"}
)
_HANDLED_ELSEWHERE = frozenset({"then", "else"})

_TYPES: dict[str, Accepts] = {
    "string": lambda value: type(value) is str,
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) is int or (type(value) is float and value - value == 0),
    "boolean": lambda value: type(value) is bool,
    "array": lambda value: type(value) is list,
    "object": lambda value: type(value) is dict,
}


def _never(_: object) -> bool:
    return False


@cache
def accepts(name: str, pointer: str = "") -> Accepts:
    """Returns the closure for the schema at ``pointer`` of a schema file."""
    base, schema = resolve(name, f"#{pointer}")
    return _compile(base, schema)


def _compile(base: str, schema: object) -> Accepts:
    if schema is True:
        return lambda _: True
    if not isinstance(schema, Mapping):
        return _never
    checks: list[Accepts] = []
    for keyword in schema:
        if keyword in _ANNOTATIONS or keyword in _HANDLED_ELSEWHERE or keyword.startswith("x-"):
            continue
        maker = _MAKERS.get(keyword)
        if maker is None:
            return _never
        checks.append(maker(base, schema))
    if len(checks) == 1:
        return checks[0]
    return lambda value: all(check(value) for check in checks)


def _ref(base: str, schema: Schema) -> Accepts:
    name, target = resolve(base, cast("str", schema["$ref"]))
    return _compile(name, target)


def _type(_: str, schema: Schema) -> Accepts:
    types = schema["type"]
    known = [
        _TYPES.get(name, _never) for name in ([types] if isinstance(types, str) else cast("list[str]", types))
    ]
    return known[0] if len(known) == 1 else lambda value: any(check(value) for check in known)


def _enum(_: str, schema: Schema) -> Accepts:
    values = schema["enum"] if "enum" in schema else [schema["const"]]
    texts = {value for value in cast("list[object]", values) if type(value) is str}
    return lambda value: type(value) is str and value in texts


def _bound(holds: Callable[[float, float], bool], keyword: str) -> _Maker:
    def make(_: str, schema: Schema) -> Accepts:
        limit = cast("float", schema[keyword])
        return lambda value: holds(value, limit) if type(value) in (int, float) else type(value) in _PLAIN  # type: ignore[arg-type]

    return make


_PLAIN = (str, bool, list, dict)


def _length(keyword: str, kind: type, holds: Callable[[int, int], bool]) -> _Maker:
    def make(_: str, schema: Schema) -> Accepts:
        limit = cast("int", schema[keyword])
        return lambda value: type(value) is not kind or holds(len(value), limit)  # type: ignore[arg-type]

    return make


def _pattern(_: str, schema: Schema) -> Accepts:
    search = re.compile(cast("str", schema["pattern"])).search
    return lambda value: type(value) is not str or search(value) is not None


def _unique(_: str, schema: Schema) -> Accepts:
    def check(value: object) -> bool:
        if type(value) is not list:
            return True
        if all(type(item) is str for item in value) or all(type(item) is int for item in value):
            return len(set(value)) == len(value)
        return all(type(item) is bool for item in value) and len(set(value)) == len(value)

    return check


def _items(base: str, schema: Schema) -> Accepts:
    item = _compile(base, schema["items"])
    return lambda value: type(value) is not list or all(map(item, value))


def _object(base: str, schema: Schema) -> Accepts:
    """Does ``properties`` and ``additionalProperties`` in one pass."""
    known = {
        key: _compile(base, value)
        for key, value in cast("Mapping[str, object]", schema.get("properties", {})).items()
    }
    if "patternProperties" in schema:
        return _never
    others = _compile(base, schema.get("additionalProperties", True))

    def check(value: object) -> bool:
        return type(value) is not dict or all(known.get(key, others)(item) for key, item in value.items())

    return check


def _additional(base: str, schema: Schema) -> Accepts:
    return (lambda _: True) if "properties" in schema else _object(base, schema)


def _required(_: str, schema: Schema) -> Accepts:
    keys = frozenset(cast("list[str]", schema["required"]))
    return lambda value: type(value) is not dict or keys <= value.keys()


def _names(base: str, schema: Schema) -> Accepts:
    name = _compile(base, schema["propertyNames"])
    return lambda value: type(value) is not dict or all(map(name, value))


def _any_of(base: str, schema: Schema) -> Accepts:
    branches = [_compile(base, branch) for branch in cast("list[object]", schema["anyOf"])]
    return lambda value: any(branch(value) for branch in branches)


def _all_of(base: str, schema: Schema) -> Accepts:
    branches = [_compile(base, branch) for branch in cast("list[object]", schema["allOf"])]
    return lambda value: all(branch(value) for branch in branches)


def _if(base: str, schema: Schema) -> Accepts:
    """Understands ``{properties: {KEY: {const: TEXT}}, required: [KEY]}`` only, where "no" is certain too."""
    condition = cast("Schema", schema["if"])
    then = _compile(base, schema.get("then", True))
    otherwise = _compile(base, schema.get("else", True))
    found = cast("Mapping[str, Schema]", condition.get("properties", {}))
    if (
        set(condition) != {"properties", "required"}
        or len(found) != 1
        or list(found) != condition["required"]
    ):
        return _never
    ((key, constant),) = found.items()
    if set(constant) != {"const"} or type(constant["const"]) is not str:
        return _never
    expected = constant["const"]

    def check(value: object) -> bool:
        if type(value) is not dict:
            return False
        return then(value) if value.get(key) == expected else otherwise(value)

    return check


_MAKERS: dict[str, _Maker] = {
    "$ref": _ref,
    "type": _type,
    "enum": _enum,
    "const": _enum,
    "minimum": _bound(lambda value, limit: value >= limit, "minimum"),
    "maximum": _bound(lambda value, limit: value <= limit, "maximum"),
    "minLength": _length("minLength", str, lambda length, limit: length >= limit),
    "maxLength": _length("maxLength", str, lambda length, limit: length <= limit),
    "minItems": _length("minItems", list, lambda length, limit: length >= limit),
    "maxItems": _length("maxItems", list, lambda length, limit: length <= limit),
    "pattern": _pattern,
    "uniqueItems": _unique,
    "items": _items,
    "properties": _object,
    "additionalProperties": _additional,
    "required": _required,
    "propertyNames": _names,
    "anyOf": _any_of,
    "allOf": _all_of,
    "if": _if,
}
