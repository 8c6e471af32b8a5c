"""Shows diagnostics. One module per format; each has a function ``render`` and stands in :data:`FORMATS`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, TextIO, cast

from compiler.diagnostics.locate import Location, Locator
from compiler.diagnostics.model import Diagnostic, Severity

FORMATS = {
    "text": "compiler.diagnostics.render.text",
    "json": "compiler.diagnostics.render.as_json",
    "sarif": "compiler.diagnostics.render.sarif",
    "github": "compiler.diagnostics.render.github",
}
"""Format names and their modules."""

Located = tuple[Diagnostic, Location | None]


class Renderer(Protocol):
    """What a format's module offers."""

    def render(self, found: Sequence[Located], *, colour: bool) -> str: ...


def render(
    diagnostics: Iterable[Diagnostic],
    format_name: str = "text",
    *,
    colour: bool = False,
    locator: Locator | None = None,
) -> str:
    """Returns the diagnostics in one format, file by file and from top to bottom, each once.

    ``locator`` may have read the files already.
    """
    locator = locator or Locator()
    unique = dict.fromkeys(diagnostics)
    found: list[Located] = [(one, locator.locate(one.place) if one.place else None) for one in unique]
    files = {location.file: number for number, (_, location) in reversed(list(enumerate(found))) if location}
    found.sort(key=lambda item: _order(item[1], files))
    return cast("Renderer", import_module(FORMATS[format_name])).render(found, colour=colour)


def _order(location: Location | None, files: dict[Path, int]) -> tuple[int, int, int]:
    if location is None:
        return (-1, 0, 0)
    return (files[location.file], location.line or 0, location.column or 0)


def wants_colour(stream: TextIO) -> bool:
    """Tells whether a stream is a terminal whose user has not said NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def count(diagnostics: Iterable[Diagnostic], severity: Severity) -> int:
    """Returns how many different diagnostics have a severity."""
    return sum(1 for one in dict.fromkeys(diagnostics) if one.severity == severity)
