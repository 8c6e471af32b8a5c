"""A scenario's document read leniently: what has the wrong type is left out (the schema reports it)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from compiler.diagnostics.model import KeyPath, Place
from compiler.document.model import Document
from compiler.scenario.model import DependencyType

Table = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RawDependency:
    """One dependency of which type and id can be read."""

    number: int
    type: DependencyType
    id: str


@dataclass(frozen=True, slots=True)
class RawEntry:
    """One ``[[Tests]]`` table."""

    file: Path
    index: int
    data: Table
    id: str | None
    test_name: str | None
    template: str | None
    dependencies: tuple[RawDependency, ...]

    def path(self, *keys: str | int) -> KeyPath:
        """Returns the path of a value in this entry."""
        return ("Tests", self.index, *keys)

    def place(self, *keys: str | int, on_key: bool = False) -> Place:
        """Returns the place of a value in this entry; without keys, of its header."""
        return Place(self.file, self.path(*keys), on_key)

    @property
    def label(self) -> str:
        """The id, or the position where it has none."""
        return self.id if self.id is not None else f"entry {self.index + 1}"


def text_or_none(value: object) -> str | None:
    """Returns a string, or None for anything else."""
    return value if isinstance(value, str) else None


def table_or_empty(value: object) -> Table:
    """Returns a table, or an empty one for anything else."""
    return cast("Table", value) if isinstance(value, dict) else {}


def raw_entries(document: Document) -> tuple[RawEntry, ...]:
    """Returns the entries of a scenario document, in order."""
    listed = document.data.get("Tests")
    tables = listed if isinstance(listed, list) else []
    return tuple(
        _entry(document.path, index, table) for index, table in enumerate(tables) if isinstance(table, dict)
    )


def _entry(file: Path, index: int, data: Table) -> RawEntry:
    listed = data.get("dependencies")
    found = []
    for number, item in enumerate(listed if isinstance(listed, list) else ()):
        table = table_or_empty(item)
        kind, other = table.get("type"), table.get("id")
        if isinstance(other, str) and isinstance(kind, str) and kind in DependencyType.__members__.values():
            found.append(RawDependency(number, DependencyType(kind), other))
    return RawEntry(
        file,
        index,
        data,
        text_or_none(data.get("id")),
        text_or_none(data.get("test_name")),
        text_or_none(data.get("test_template_name")),
        tuple(found),
    )
