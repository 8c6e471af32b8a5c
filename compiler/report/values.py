"""Reads values out of files that may hold anything: what does not fit becomes None or empty."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """Returns the JSON value of a file, None where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def read_toml(path: Path) -> dict[str, Any]:
    """Returns the table of a TOML file, empty where it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}


def number(value: object) -> float | None:
    """Returns a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def text(value: object) -> str:
    """Returns a value as one readable text: strings as they are, None as nothing, the rest as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def mapping(value: object) -> dict[str, Any]:
    """Returns an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[dict[str, Any]]:
    """Returns the objects of a list; an object alone counts as a list of one."""
    if isinstance(value, dict):
        return [value]
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def flatten(table: object, prefix: str = "") -> dict[str, Any]:
    """Returns a table of tables as one level with dotted keys; lists are numbered."""
    if isinstance(table, dict):
        items = [(str(key), value) for key, value in table.items()]
    elif isinstance(table, list) and any(isinstance(item, dict | list) for item in table):
        items = [(str(index), value) for index, value in enumerate(table)]
    else:
        return {prefix: table}
    out: dict[str, Any] = {}
    for key, value in items:
        out |= flatten(value, f"{prefix}.{key}" if prefix else key)
    return out
