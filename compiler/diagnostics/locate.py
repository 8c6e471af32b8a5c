"""Looks up where a finding stands: line, column and source text. Only files with findings are read again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.diagnostics.model import Place

if TYPE_CHECKING:
    from compiler.document.positions import Positions


@dataclass(frozen=True, slots=True)
class Location:
    """Lines and columns count characters from 1; the end is exclusive; None where they are not known."""

    file: Path
    line: int | None = None
    column: int | None = None
    end_line: int | None = None
    end_column: int | None = None
    source: str | None = None
    """The first line of the span."""


class Locator:
    """Finds locations; keeps the files that it has read."""

    def __init__(self) -> None:
        """Starts with no file read."""
        self._texts: dict[Path, str | None] = {}
        self._lines: dict[Path, list[str]] = {}
        self._positions: dict[Path, Positions | None] = {}

    def know(self, file: Path, text: str) -> None:
        """Takes the text of a file that somebody read already, without its byte order mark."""
        self._texts.setdefault(file, text)

    def locate(self, place: Place) -> Location:
        """Returns the location of a place, as exact as can be told."""
        if place.line is not None:
            return self._fixed(place, place.line, place.column)
        positions = self._position_table(place.file) if place.path else None
        span = positions.span(place.path, on_key=place.on_key) if positions else None
        if span is None:
            return self._fixed(place, 1, 1) if self.text(place.file) else Location(place.file)
        return Location(
            place.file,
            span.line,
            span.column,
            span.end_line,
            span.end_column,
            self._line(place.file, span.line),
        )

    def _fixed(self, place: Place, line: int, column: int | None) -> Location:
        end = None if column is None else column + 1
        return Location(place.file, line, column, line, end, self._line(place.file, line))

    def text(self, file: Path) -> str | None:
        """Returns a file's text without byte order mark; None where it cannot be read."""
        if file not in self._texts:
            try:
                raw = file.read_bytes() if file.is_file() else None
            except (OSError, ValueError):
                raw = None
            self._texts[file] = (
                None if raw is None else raw.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
            )
        return self._texts[file]

    def _line(self, file: Path, number: int) -> str | None:
        if file not in self._lines:
            text = self.text(file)
            self._lines[file] = [] if text is None else text.split("\n")
        lines = self._lines[file]
        return lines[number - 1].rstrip("\r") if number <= len(lines) else None

    def _position_table(self, file: Path) -> Positions | None:
        if file not in self._positions:
            text = self.text(file)
            self._positions[file] = None
            if text is not None:
                from compiler.document.positions import Positions  # tree-sitter takes a while to load

                self._positions[file] = Positions(text)
        return self._positions[file]
