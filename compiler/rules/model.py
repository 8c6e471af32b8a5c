"""What rules get: a table with the keys of a test, a scenario before it is resolved, or a resolved case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from compiler.diagnostics.model import Diagnostic, KeyPath, Place
from compiler.scenario.model import Case, Entry

if TYPE_CHECKING:
    from compiler.scenario.catalog import Catalog
    from compiler.scenario.raw import RawEntry


@dataclass(frozen=True, slots=True)
class TestTable:
    """A table with the keys of a test: a test file, or a scenario entry. Values may have wrong types."""

    __test__ = False

    file: Path
    path: KeyPath
    data: Mapping[str, object]
    schema: str
    """Schema file that describes the table, e.g. ``test.DeepEPBenchmark`` or ``scenario``."""
    pointer: str = ""

    def place(self, *keys: str | int, on_key: bool = False) -> Place:
        """Returns the place of a value in this table."""
        return Place(self.file, (*self.path, *keys), on_key)


@dataclass(frozen=True, slots=True)
class RawScenario:
    """A scenario before it is resolved, and the tests it may use."""

    file: Path
    data: Mapping[str, object]
    entries: tuple[RawEntry, ...]
    catalog: Catalog


Findings: TypeAlias = Iterable[Diagnostic]
TableRule: TypeAlias = Callable[[TestTable], Findings]
ScenarioRule: TypeAlias = Callable[[RawScenario], Findings]
CaseRule: TypeAlias = Callable[[Entry, Case], Findings]
