"""Writes large JSON files: a row a line, by the encoder in C (indenting is done in Python, and is slow)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..files import write_bytes


def write_rows(path: str, value: Mapping[str, Any]) -> None:
    """Replaces ``path`` by an object: a line per key, and per element below it. Raises OSError."""
    parts = [f" {json.dumps(key)}: {_rows(inner)}" for key, inner in value.items()]
    write_bytes(path, ("{\n" + ",\n".join(parts) + "\n}\n").encode("ascii"))


def _rows(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
    if isinstance(value, dict) and value:
        return (
            "{\n  " + ",\n  ".join(f"{json.dumps(key)}: {json.dumps(v)}" for key, v in value.items()) + "\n }"
        )
    return json.dumps(value)
