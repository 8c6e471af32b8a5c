"""Loads ``schemas/*.schema.json`` and resolves references between them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import cast

from compiler.resources import resource

Schema = Mapping[str, object]

_SUFFIX = ".schema.json"
_TEST = "test."


@cache
def load(name: str) -> Schema:
    """Returns one schema by its name without suffix, e.g. ``scenario``; KeyError where there is none."""
    try:
        text = (resource("schemas") / (name + _SUFFIX)).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise KeyError(name) from None
    return cast("Schema", json.loads(text))


@cache
def names() -> tuple[str, ...]:
    """Returns the names of all schemas, sorted."""
    return tuple(sorted(path.name.removesuffix(_SUFFIX) for path in resource("schemas").glob("*" + _SUFFIX)))


@cache
def templates() -> tuple[str, ...]:
    """Returns the known values of ``test_template_name``: one test schema each."""
    return tuple(name.removeprefix(_TEST) for name in names() if name.startswith(_TEST))


def test_schema(template: str) -> str:
    """Returns the name of the schema of one kind of test."""
    return _TEST + template


@cache
def resolve(base: str, reference: str) -> tuple[str, Schema]:
    """Returns a ``$ref``'s target and the schema file it lies in. ``base`` is the file of the reference."""
    file, _, pointer = reference.partition("#")
    name = file.removesuffix(_SUFFIX) if file else base
    node: object = load(name)
    for part in pointer.split("/")[1:]:
        node = cast("Mapping[str, object]", node)[part.replace("~1", "/").replace("~0", "~")]
    return name, cast("Schema", node)


def flat(base: str, schema: Schema) -> tuple[str, Schema]:
    """Follows ``$ref`` and lays the keys beside it (a title, a default) over its target."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return base, schema
    name, target = resolve(base, reference)
    name, target = flat(name, target)
    return name, {**target, **{key: value for key, value in schema.items() if key != "$ref"}}


@cache
def properties(name: str, pointer: str = "") -> Mapping[str, Schema]:
    """Returns the properties of the object schema at ``pointer`` of a file, references followed."""
    _, node = resolve(name, f"#{pointer}")
    base, node = flat(name, node)
    found = cast("Mapping[str, Schema]", node.get("properties", {}))
    return {key: flat(base, value)[1] for key, value in found.items()}


def bundled(name: str) -> Schema:
    """Returns a schema with the files that it refers to embedded under ``$defs``, each with its ``$id``."""
    wanted = [name]
    for current in wanted:
        for reference in _references(load(current)):
            file = reference.partition("#")[0].removesuffix(_SUFFIX)
            if file and file not in wanted:
                wanted.append(file)
    schema = dict(load(name))
    others = {f"{other}{_SUFFIX}": load(other) for other in wanted[1:]}
    if others:
        schema["$defs"] = {**cast("Schema", schema.get("$defs", {})), **others}
    return schema


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str):
            yield reference
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from _references(child)
