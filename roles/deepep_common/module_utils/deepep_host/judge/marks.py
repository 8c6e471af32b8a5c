"""Marks: what was wrong while a record was measured, so that its figures are not what the hardware can do.

The program says so of its GPUs (throttled, shared, conditions unknown); the plan knows what ran under nsys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .codes import printable

UNDER_NSYS = "measured under nsys, which slows the program"

_KINDS = (
    ("conditions unknown", "conditions unknown"),
    ("shared", " was shared "),
    ("throttled", "throttled"),
    ("nsys", "under nsys"),
)


def marks_of(run: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """Returns the marks of a record of a planned run, each once."""
    told = record.get("marks")
    marks = [printable(str(mark)) for mark in told] if isinstance(told, list) else []
    if profiled(run) and not any(kind_of(mark) == "nsys" for mark in marks):
        marks.append(UNDER_NSYS)
    return list(dict.fromkeys(marks))


def profiled(run: Mapping[str, Any]) -> bool:
    """Whether the plan runs the program under nsys."""
    definition = run.get("test_definition")
    table = definition.get("nsys") if isinstance(definition, Mapping) else None
    return isinstance(table, Mapping) and bool(table.get("enable", True))


def kind_of(mark: str) -> str:
    """Returns a mark in a word or two."""
    return next((kind for kind, word in _KINDS if word in mark), "marked")


def notes_on_marks(run: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yields a sentence for each kind of mark, with the operations that it concerns.

    Of marks that say alike of every GPU one stands for all.
    """
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    total = 0
    for record in records:
        total += 1
        variant = record.get("variant")
        name = f"{record.get('operation')}" + (f" ({variant})" if variant else "")
        for mark in marks_of(run, record):
            marks, names = found.setdefault(kind_of(mark), ({}, {}))
            marks[mark] = names[name] = None
    for marks, names in found.values():
        where = "" if len(names) == total else f" ({', '.join(names)})"
        more = f", and {len(marks) - 1} more such" if len(marks) > 1 else ""
        yield f"while it was measured{where}: {next(iter(marks))}{more}"
