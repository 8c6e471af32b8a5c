"""Reads reference values and checks them against their schema."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from compiler.resources import resource

FOLDER = "references"


class UnusableReferencesError(Exception):
    """A file of references cannot be used; the text says which and why."""


def shipped() -> list[Path]:
    """Returns the files that come with the compiler."""
    try:
        return sorted(resource(FOLDER).glob("*.toml"))
    except FileNotFoundError:
        return []


def read_references(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Returns the references of files and of folders' TOML files. Raises UnusableReferencesError."""
    found: list[dict[str, Any]] = []
    for path in paths:
        for file in sorted(path.glob("*.toml")) if path.is_dir() else [path]:
            found += read_file(file)["reference"]
    return found


def read_file(path: Path) -> dict[str, Any]:
    """Returns one file's document. Raises UnusableReferencesError."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnusableReferencesError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UnusableReferencesError(f"{path} is no TOML: {error}") from error
    import jsonschema

    problem = next(iter(_validator().iter_errors(document)), None)
    if problem is not None:
        problem = jsonschema.exceptions.best_match(_validator().iter_errors(document)) or problem
        place = ".".join(map(str, problem.absolute_path)) or "the file"
        raise UnusableReferencesError(f"{path}: {place}: {problem.message}")
    return document


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    schema = json.loads((resource("schemas") / "reference.schema.json").read_text(encoding="utf-8"))
    return Draft202012Validator(schema)
