"""One host's ``deepep_*`` variables -> typed Settings, checked against the inventory schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from ipaddress import IPv4Address
from typing import cast

from compiler.inventory import variables
from compiler.inventory.model import Settings, SlurmSettings

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_PREFIX = "deepep_"


class Problem(Exception):
    """One variable that cannot be used. ``slug`` names the diagnostic."""

    def __init__(self, slug: str, variable: str, message: str, fix: str) -> None:
        super().__init__(message)
        self.slug = slug
        self.variable = variable
        self.message = message
        self.fix = fix


def read(
    hostvars: Mapping[str, object], inventory_dir: str | None, local: bool
) -> tuple[Settings | None, list[Problem]]:
    """Returns the host's settings, or None with everything that is wrong with them.

    ``inventory_dir`` replaces ``{{ inventory_dir }}``; None where the sources lie in different directories.
    ``local``: the host is reached by a local connection, so it is the controller itself.
    """
    problems: list[Problem] = []
    known = variables.schema()
    values: dict[str, object] = {}
    for name, value in hostvars.items():
        if not name.startswith(_PREFIX):
            continue
        rule = known.get(name)
        if rule is None:
            if name not in variables.AT_RUN_TIME and name not in variables.of_roles():
                problems.append(_unknown(name))
            continue
        if value is None:
            continue
        try:
            values[name.removeprefix(_PREFIX)] = _value(name, value, rule, inventory_dir)
        except Problem as problem:
            problems.append(problem)
    if problems:
        return None, problems
    for name, rule in known.items():
        values.setdefault(name.removeprefix(_PREFIX), _default(rule))
    if values["one_machine"] is None and local:
        values["one_machine"] = "controller"
    return _settings(values), []


def _default(rule: Mapping[str, object]) -> object:
    default = rule.get("default")
    return tuple(default) if isinstance(default, list) else default


def _settings(values: Mapping[str, object]) -> Settings:
    # The schema's names and types are these classes' own.
    names = {name: f"slurm_{name}" for name in SlurmSettings.__dataclass_fields__}
    slurm = SlurmSettings(**{name: values[full] for name, full in names.items()})  # type: ignore[arg-type]
    rest = {name: value for name, value in values.items() if name not in names.values()}
    return Settings(slurm=slurm, **rest)  # type: ignore[arg-type]


def _unknown(name: str) -> Problem:
    near = get_close_matches(name, [*variables.schema(), *sorted(variables.of_roles())], n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return Problem(
        "unknown-inventory-variable",
        name,
        f"{name} is not a variable of this project",
        f"{meant}`deepep-compiler schema inventory` lists all names",
    )


def _value(name: str, value: object, rule: Mapping[str, object], inventory_dir: str | None) -> object:
    if name == "deepep_registries":
        return _registries(name, value)
    value = _literal(name, value, inventory_dir)
    match rule["type"]:
        case "string":
            return _string(name, value, rule)
        case "integer":
            return _integer(name, value, rule)
        case "boolean":
            return _boolean(name, value)
        case "array":
            return _strings(name, value, rule)
        case _:
            return _environment(name, value, rule)


def _literal(name: str, value: object, inventory_dir: str | None) -> object:
    """Returns ``value``, free of templates: what they give is known too late for the plan."""
    if isinstance(value, str):
        if variables.INVENTORY_DIR.search(value) and variables.schema()[name].get("x-path"):
            if inventory_dir is None:
                raise Problem(
                    "inventory-value-not-literal",
                    name,
                    f"{name} = {value!r} uses inventory_dir, but the inventories lie in several directories",
                    "write the absolute path",
                )
            value = variables.INVENTORY_DIR.sub(lambda _: inventory_dir, value)
        if variables.TEMPLATE.search(value):
            raise Problem(
                "inventory-value-not-literal",
                name,
                f"{name} = {value!r} is a template; the plan needs its value before Ansible runs",
                "write the value itself"
                + (
                    " (only {{ inventory_dir }} is replaced here)"
                    if variables.schema()[name].get("x-path")
                    else ""
                ),
            )
        return value
    if isinstance(value, Mapping):
        if "__ansible_vault" in value:
            raise Problem(
                "inventory-value-not-literal",
                name,
                f"{name} is encrypted; the plan needs its value and is no place for secrets",
                "write the value in clear, or leave it to a variable that is read at run time",
            )
        return {str(key): _literal(name, item, inventory_dir) for key, item in value.items()}
    if isinstance(value, list):
        return [_literal(name, item, inventory_dir) for item in value]
    return value


def _wrong(name: str, value: object, wanted: str, fix: str = "") -> Problem:
    return Problem(
        "bad-inventory-value", name, f"{name} = {value!r} is not {wanted}", fix or f"write {wanted}"
    )


def _string(name: str, value: object, rule: Mapping[str, object]) -> str:
    allowed = cast("list[str] | None", rule.get("enum"))
    if not isinstance(value, str) or not value:
        raise _wrong(name, value, f"one of {', '.join(allowed)}" if allowed else "a text")
    if allowed and value not in allowed:
        near = get_close_matches(value, allowed, n=1)
        raise _wrong(name, value, f"one of {', '.join(allowed)}", f"did you mean {near[0]}?" if near else "")
    pattern = cast("str | None", rule.get("pattern"))
    if pattern and not re.search(pattern, value):
        raise _wrong(
            name, value, "a word as Slurm takes it", "use letters, digits and . , : + @ % = _ - only"
        )
    if rule.get("format") == "ipv4":
        try:
            IPv4Address(value)
        except ValueError:
            raise _wrong(name, value, "an IPv4 address") from None
    if rule.get("x-path") and not value.startswith("/"):
        raise _wrong(name, value, "an absolute path on the host")
    return value


def _integer(name: str, value: object, rule: Mapping[str, object]) -> int:
    # -e name=value and INI inventories give texts, as they do for Ansible itself.
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
        value = int(value)
    low, high = cast("int", rule["minimum"]), cast("int | None", rule.get("maximum"))
    wanted = (
        f"a whole number from {low} to {high}" if high is not None else f"a whole number of at least {low}"
    )
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or value < low
        or (high is not None and value > high)
    ):
        raise _wrong(name, value, wanted)
    return value


def _boolean(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise _wrong(name, value, "true or false")


def _strings(name: str, value: object, rule: Mapping[str, object]) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise _wrong(name, value, "a list of texts")
    allowed = cast("list[str] | None", cast("Mapping[str, object]", rule["items"]).get("enum"))
    for item in value:
        if "\0" in item:
            raise _wrong(name, item, "a text without NUL bytes", "remove it")
        if allowed and item not in allowed:
            near = get_close_matches(item, allowed, n=1)
            raise _wrong(
                name, item, f"one of {', '.join(allowed)}", f"did you mean {near[0]}?" if near else ""
            )
    if name == "deepep_container_mounts":
        for mount in value:
            if not re.fullmatch(r"/[^:]*:/[^:]*(:(ro|rw))?", mount):
                raise _wrong(name, mount, "a mount", "write /source:/target, with :ro for read-only")
    if name.startswith("deepep_slurm_"):
        for item in value:
            if any(not character.isprintable() for character in item):
                raise _wrong(name, item, "one line of printable characters")
            if name == "deepep_slurm_sbatch_args" and not item.startswith("-"):
                raise _wrong(name, item, "an option of sbatch", "write --option=value")
    return tuple(value)


def _environment(name: str, value: object, rule: Mapping[str, object]) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise _wrong(name, value, "a mapping of names to texts")
    pattern = cast("Mapping[str, str]", rule["propertyNames"])["pattern"]
    found: dict[str, str] = {}
    for key, item in value.items():
        if not re.fullmatch(pattern, key):
            raise _wrong(name, key, "the name of an environment variable", "use letters, digits and _ only")
        if isinstance(item, int | float) and not isinstance(item, bool):
            item = str(item)  # a number has one reading; true and null have several
        if not isinstance(item, str):
            raise Problem(
                "bad-inventory-value",
                name,
                f"{name}.{key} = {item!r} is not a text",
                f'write {key}: "…" with the text that is meant',
            )
        if "\0" in item:
            raise Problem("bad-inventory-value", name, f"{name}.{key} holds a NUL byte", "remove it")
        found[key] = item
    return found


def _registries(name: str, value: object) -> tuple[str, ...]:
    """Returns the registries' names; user and password stay where they are."""
    found: list[str] = []
    items: list[object] = value if isinstance(value, list) else [None]
    for item in items:
        entry: Mapping[object, object] = item if isinstance(item, Mapping) else {}
        registry = entry.get("registry")
        if not isinstance(registry, str) or not registry:
            # The value is not shown: it may hold a password.
            raise Problem(
                "bad-inventory-value",
                name,
                f"{name} is not a list of registries",
                "write - {registry: …, username: …, password: …}",
            )
        extra = sorted({str(key) for key in entry} - {"registry", "username", "password"})
        if extra:
            raise Problem(
                "bad-inventory-value",
                name,
                f"{name}: {extra[0]} is no key of a registry",
                "its keys are registry, username, password",
            )
        if variables.TEMPLATE.search(registry):
            raise Problem(
                "inventory-value-not-literal",
                name,
                f"{name}: registry = {registry!r} is a template",
                "write the registry's name",
            )
        found.append(registry)
    return tuple(found)
