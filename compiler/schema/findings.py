"""Turns errors of ``jsonschema`` into diagnostics that say what to write instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from jsonschema.exceptions import ValidationError

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic, KeyPath, Place
from compiler.diagnostics.wording import bare, key_text, listing, nearest, plural, value_text
from compiler.schema import store
from compiler.schema.store import Schema

_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a table",
}
_YES = {"true", "yes", "on", "1"}
_NO = {"false", "no", "off", "0"}


def describe(file: Path, error: ValidationError, at: KeyPath) -> Iterator[Diagnostic]:
    """Yields the findings behind one error; ``at`` is the path of the value that was validated."""
    path: KeyPath = (*at, *error.absolute_path)
    if error.validator == "anyOf" and error.context:
        for inner in _branch(error):
            yield from describe(file, inner, at)
        return
    on_key = "propertyNames" in error.absolute_schema_path
    if on_key:
        path = (*path, cast("str", error.instance))
    describer = _DESCRIBERS.get(cast("str", error.validator), _other)
    yield from describer(file, path, error, on_key)


def _branch(error: ValidationError) -> list[ValidationError]:
    """Returns the errors of the alternative that was meant: the list for a list, else the first."""
    branches = cast("Sequence[Schema]", error.validator_value)
    chosen = 0
    if isinstance(error.instance, list):
        arrays = [number for number, branch in enumerate(branches) if branch.get("type") == "array"]
        chosen = arrays[0] if arrays else 0
    return [inner for inner in error.context or () if inner.relative_schema_path[0] == chosen]


def _allows_list(error: ValidationError) -> bool:
    parent = error.parent
    if not isinstance(parent, ValidationError) or parent.validator != "anyOf":
        return False
    branches = cast("Sequence[Schema]", parent.validator_value)
    return any(branch.get("type") == "array" for branch in branches) and not isinstance(error.instance, list)


def _setting(path: KeyPath, value: str) -> str:
    key = next((bare(part) for part in reversed(path) if isinstance(part, str)), "")
    return value if isinstance(path[-1], int) else f"{key} = {value}"


def _wrong_type(file: Path, path: KeyPath, error: ValidationError, _: bool) -> Iterator[Diagnostic]:
    wanted = error.validator_value
    types = [wanted] if isinstance(wanted, str) else list(cast("Sequence[str]", wanted))
    allowed = listing(_TYPES[name] for name in types) + (
        ", or a list of such values" if _allows_list(error) else ""
    )
    value = error.instance
    hint = next((text for text in (_converted(value, name) for name in types) if text), None)
    yield finding(
        "wrong-type",
        f"{key_text(path)} = {value_text(value)}: expected {allowed}",
        Place(file, path),
        fix=f"write {_setting(path, hint)}" if hint else f"write {allowed}",
    )


def _converted(value: object, wanted: str) -> str | None:
    """Returns the value as the wanted type would be written, where that is plain."""
    match wanted, value:
        case "integer" | "number", str() if (
            value.strip().lstrip("+-").isascii() and value.strip().lstrip("+-").isdigit()
        ):
            return value.strip()
        case "integer", float() if value.is_integer():
            return str(int(value))
        case "boolean", str() | int() if str(value).strip().lower() in _YES | _NO:
            return "true" if str(value).strip().lower() in _YES else "false"
        case "string", bool() | int() | float():
            return f'"{value_text(value)}"'
        case "array", str() | int():
            return f"[{value_text(value)}]"
        case _:
            return None


def _bad_value(file: Path, path: KeyPath, error: ValidationError, on_key: bool) -> Iterator[Diagnostic]:
    allowed = error.validator_value if error.validator == "enum" else [error.validator_value]
    options = [option for option in cast("Sequence[object]", allowed) if isinstance(option, str)]
    meant = nearest(str(error.instance), options)
    yield finding(
        "bad-value",
        f"{key_text(path)} = {value_text(error.instance)}: allowed are {listing(map(value_text, options))}",
        Place(file, path, on_key),
        fix=f"write {_setting(path, value_text(meant))}"
        if meant
        else f"write {listing(map(value_text, options))}",
    )


def _range(file: Path, path: KeyPath, error: ValidationError, _: bool) -> Iterator[Diagnostic]:
    schema = cast("Schema", error.schema)
    low, high = schema.get("minimum"), schema.get("maximum")
    allowed = (
        f"{low} to {high}"
        if low is not None and high is not None
        else f"at least {low}"
        if high is None
        else f"at most {high}"
    )
    bound = low if error.validator == "minimum" else high
    yield finding(
        "out-of-range",
        f"{key_text(path)} = {value_text(error.instance)}: allowed is {allowed}",
        Place(file, path),
        fix=f"write {_setting(path, str(bound))} or {'more' if error.validator == 'minimum' else 'less'}",
    )


def _length(file: Path, path: KeyPath, error: ValidationError, on_key: bool) -> Iterator[Diagnostic]:
    limit = cast("int", error.validator_value)
    unit = "character" if isinstance(error.instance, str) else "value"
    least = cast("str", error.validator).startswith("min")
    empty = least and not error.instance
    yield finding(
        "out-of-range",
        f"{key_text(path)} is empty"
        if empty
        else f"{key_text(path)} has {plural(len(cast('str', error.instance)), unit)}; "
        f"{'at least' if least else 'at most'} {limit:,} are allowed",
        Place(file, path, on_key),
        fix=f"give at least {plural(limit, unit)}, or leave {bare(str(path[-1]))} out"
        if least
        else "shorten it",
    )


def _pattern(file: Path, path: KeyPath, error: ValidationError, on_key: bool) -> Iterator[Diagnostic]:
    schema = cast("Schema", error.schema)
    allowed = str(schema.get("x-allowed", f"what matches {error.validator_value}"))
    what = (
        f"{key_text(path[:-1])}: the name {value_text(error.instance)}"
        if on_key
        else f"{key_text(path)} = {value_text(error.instance)}"
    )
    yield finding(
        str(schema.get("x-diagnostic", "bad-value")),
        f"{what} is not allowed: {allowed}",
        Place(file, path, on_key),
        fix=f"use {allowed}",
    )


def _unique(file: Path, path: KeyPath, error: ValidationError, _: bool) -> Iterator[Diagnostic]:
    values = cast("list[object]", error.instance)
    for index, value in enumerate(values):
        if any(type(other) is type(value) and other == value for other in values[:index]):
            yield finding(
                "duplicate-value",
                f"{key_text(path)} holds {value_text(value)} twice",
                Place(file, (*path, index)),
            )
            return
    yield finding("duplicate-value", f"{key_text(path)} holds a value twice", Place(file, path))


def _missing(file: Path, path: KeyPath, error: ValidationError, _: bool) -> Iterator[Diagnostic]:
    instance = cast("Mapping[str, object]", error.instance)
    known = cast("Mapping[str, Schema]", cast("Schema", error.schema).get("properties", {}))
    for key in cast("Sequence[str]", error.validator_value):
        if key in instance:
            continue
        where = f"{key_text(path)} has" if path else "the file has"
        misspelt = nearest(key, [name for name in instance if name not in known])
        example = _example(known.get(key, {}))
        fix = (
            f"rename {bare(misspelt)} to {key}"
            if misspelt
            else f"add {key}{f' = {example}' if example else ''}"
        )
        yield finding("missing-key", f"{where} no {key}", Place(file, path), fix=fix)


def _example(schema: Schema) -> str:
    _, schema = store.flat("common", schema)
    examples = cast("Sequence[object]", schema.get("examples", ()))
    return value_text(examples[0]) if examples and isinstance(examples[0], str | int) else ""


def _unknown(file: Path, path: KeyPath, error: ValidationError, _: bool) -> Iterator[Diagnostic]:
    properties = cast("Mapping[str, Schema]", cast("Schema", error.schema).get("properties", {}))
    for key in cast("Mapping[str, object]", error.instance):
        if key in properties:
            continue
        where = f"[{key_text(path)}]" if path else "the top level"
        yield finding(
            "unknown-key",
            f"there is no key {bare(key)} in {where}",
            Place(file, (*path, key), on_key=True),
            fix=_instead(key, path, properties),
        )


def _instead(key: str, path: KeyPath, properties: Mapping[str, Schema]) -> str:
    aliases = {
        alias: name
        for name, schema in properties.items()
        for alias in cast("list[str]", schema.get("x-aliases", ()))
    }
    meant = aliases.get(key)
    if meant:
        return f"did you mean {meant}?"
    home = _home(key, path)
    if home:
        return home
    meant = nearest(key, list(properties))
    if meant:
        return f"did you mean {meant}?"
    return f"remove it; the keys here are {listing(properties, 'and')}"


def _home(key: str, path: KeyPath) -> str | None:
    """Says where a key that stands in the wrong table belongs."""
    names = tuple(part for part in path if isinstance(part, str))
    for template in store.templates():
        schema = store.test_schema(template)
        arguments, test = store.properties(schema, "/properties/cmd_args"), store.properties(schema)
        entry = store.properties("scenario", "/$defs/entry")
        if names == () and key in arguments:
            return f"move it below [cmd_args]: {key} is an argument of {template}"
        if names == ("cmd_args",) and key in test:
            return f"move it above [cmd_args], or write it as [{key}]: it is a key of the test"
        if names == () and key in entry:
            return f"move it below [[Tests]]: {key} is a key of an entry"
        if names == ("Tests",) and key in arguments:
            return f"move it below [Tests.cmd_args]: {key} is an argument of {template}"
        if names == ("Tests",) and key in test:
            return f"move it into the test's own file: an entry cannot set {key}"
        if names == ("Tests", "cmd_args") and key in entry:
            return f"move it above [Tests.cmd_args]: {key} is a key of the entry"
        if names == ("Tests",) and key in store.properties("scenario"):
            return f"move it above the first [[Tests]]: {key} is a key of the scenario"
    return None


def _other(file: Path, path: KeyPath, error: ValidationError, on_key: bool) -> Iterator[Diagnostic]:
    yield finding("schema-violation", f"{key_text(path)}: {error.message[:500]}", Place(file, path, on_key))


_Describer = Callable[[Path, KeyPath, ValidationError, bool], Iterator[Diagnostic]]
_DESCRIBERS: dict[str, _Describer] = {
    "type": _wrong_type,
    "enum": _bad_value,
    "const": _bad_value,
    "minimum": _range,
    "maximum": _range,
    "minLength": _length,
    "maxLength": _length,
    "minItems": _length,
    "maxItems": _length,
    "pattern": _pattern,
    "uniqueItems": _unique,
    "required": _missing,
    "additionalProperties": _unknown,
}
