"""Checks values against a schema and returns diagnostics: fast where all is well, exact where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compiler.diagnostics.model import Diagnostic, KeyPath
from compiler.schema.accept import accepts


def validate(file: Path, value: Any, name: str, *, pointer: str = "", at: KeyPath = ()) -> list[Diagnostic]:
    """Returns the findings of ``value``, which stands at path ``at`` of ``file``, in document order."""
    if accepts(name, pointer)(value):
        return []
    from compiler.schema.authority import validator
    from compiler.schema.findings import describe

    errors = sorted(
        validator(name, pointer).iter_errors(value), key=lambda error: [str(p) for p in error.absolute_path]
    )
    found = (diagnostic for error in errors for diagnostic in describe(file, error, at))
    return list(dict.fromkeys(found))
