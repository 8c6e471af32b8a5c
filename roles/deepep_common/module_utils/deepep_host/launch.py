"""Turns a run of the plan into what one host executes: argv, environment, config.yaml, env_vars.sh."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

_VARIABLE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")


class LaunchError(Exception):
    """The plan asks for something that this host cannot start; the text says what."""


def expand_argv(argv: Sequence[str | Mapping[str, Any]], variables: Mapping[str, str]) -> list[str]:
    """Returns argv with ``{"join": ["text", {"var": "name"}]}`` replaced by one string each.

    Raises LaunchError for a variable that does not exist and for a NUL, which no argument can hold.
    """
    words = [_word(argument, variables) for argument in argv]
    for word in words:
        if "\0" in word:
            raise LaunchError(f"an argument cannot hold a NUL character: {word!r}")
    return words


def _word(argument: str | Mapping[str, Any], variables: Mapping[str, str]) -> str:
    if isinstance(argument, str):
        return argument
    if "var" in argument:
        name = str(argument["var"])
        if name not in variables:
            raise LaunchError(f"the plan names the unknown variable {name!r} in a command line")
        return variables[name]
    if "join" in argument:
        return "".join(_word(part, variables) for part in argument["join"])
    raise LaunchError(f"the plan holds an argument of unknown form: {argument!r}")


def expand_environment(env: Mapping[str, str], base: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Returns ``env`` with ``$NAME`` and ``${NAME}`` replaced, and the names that had no value (empty then).

    Values come from the entries before, else from ``base``. Nothing else is special: no command
    substitution, no quotes, no escapes.
    """
    result: dict[str, str] = {}
    unset: list[str] = []

    def value(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        if name in result:
            return result[name]
        if name not in base:
            unset.append(name)
        return base.get(name, "")

    for name, text in env.items():
        if "\0" in text:
            raise LaunchError(f"environment variable {name} cannot hold a NUL character")
        result[name] = _VARIABLE.sub(value, text)
    return result, sorted(set(unset))


def render_config(config: Mapping[str, Any]) -> str:
    """Returns config.yaml: one ``key: <JSON scalar>`` a line, which is YAML too."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in config.items())


def render_env_vars(env: Mapping[str, str]) -> str:
    """Returns env_vars.sh: what a shell would have to read to get exactly this environment."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items())
