"""What a finding is: a value, without a word about how it is printed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the root of a TOML document to one value, e.g. ``("Tests", 0, "nodes")``."""


class Severity(StrEnum):
    """How much a finding weighs: errors stop the compiler, warnings do not (unless ``--strict``)."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a finding is. Line and column are looked up only when it is shown.

    ``path`` names a value; ``on_key`` asks for the key's own span instead of the value's. ``line`` and
    ``column`` (both from 1) are set only where no document can be read (a syntax error, a wrong byte).
    """

    file: Path
    path: KeyPath = ()
    on_key: bool = False
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding: what is wrong with this value, why, and what to write instead.

    ``code`` is an entry of :mod:`compiler.diagnostics.codes`. ``severity`` is the code's own unless a rule
    says otherwise. ``message`` names the value and the computed quantity; ``why`` names the source.
    """

    code: str
    severity: Severity
    message: str
    place: Place | None = None
    why: str = ""
    fix: str = ""
