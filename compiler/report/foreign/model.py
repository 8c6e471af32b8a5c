"""What was found in a foreign tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that speaks against a run. ``file`` is relative to its directory."""

    code: str
    text: str
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class ForeignRun:
    """One run: ``records`` have the keys of results.json, as far as the tool gives them.

    ``id`` is where its files go; ``files`` maps names below that to where they lie.
    """

    id: str
    test_name: str
    description: str
    mode: str
    backend: str
    num_hosts: int
    num_ranks: int
    config: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]
    problems: Sequence[Problem]
    files: Mapping[str, Path]
    result_dir: str | None
    program: str = "image"


@dataclass(frozen=True, slots=True)
class ForeignTree:
    """All runs that were found, the tool that made them, and why no more than UNVERIFIED can be said."""

    name: str
    origin: str
    runs: Sequence[ForeignRun]
    unproven: str = "nothing proves its data: no markers, no reference check, no plan"
