"""``# noqa: CODES`` comments in TOML files: silence findings of their line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.diagnostics.codes import finding, prevents
from compiler.diagnostics.locate import Locator
from compiler.diagnostics.model import Diagnostic, Place
from compiler.diagnostics.switches import matches, unknown_code
from compiler.diagnostics.wording import value_text

_NOQA = re.compile(r"#\s*noqa\b(?P<rest>[^#]*)", re.IGNORECASE)
_MARK = "noqa"


@dataclass(frozen=True, slots=True)
class Noqa:
    """One comment: its line and column (from 1) and the codes, prefixes or slugs that it names."""

    line: int
    column: int
    names: tuple[str, ...]


class Comments:
    """Applies the comments of the files that have findings."""

    def __init__(self, locator: Locator) -> None:
        """Takes the locator that reads files."""
        self._locator = locator
        self._known: dict[Path, tuple[Noqa, ...]] = {}
        self._used: set[tuple[Path, int, str]] = set()
        self._refused: list[Diagnostic] = []

    def filter(self, diagnostics: Sequence[Diagnostic]) -> list[Diagnostic]:
        """Returns the diagnostics that no comment silences."""
        return [one for one in diagnostics if not self._silenced(one)]

    def problems(self, files: Sequence[Path], *, unused: bool) -> list[Diagnostic]:
        """Returns what is wrong with the comments of ``files``; ``unused``: also those that did nothing."""
        found = list(self._refused)
        for file in files:
            for comment in self._of(file):
                place = Place(file, line=comment.line, column=comment.column)
                if not comment.names:
                    text = "noqa names no code: it silences nothing"
                    found.append(finding("unknown-code", text, place, fix="write # noqa: CODE"))
                for name in comment.names:
                    hint = unknown_code(name)
                    if hint is not None:
                        text = f"noqa: there is no code {value_text(name)}"
                        found.append(finding("unknown-code", text, place, fix=hint))
                    elif unused and (file, comment.line, name) not in self._used:
                        text = f"noqa: {name} silences nothing on this line"
                        found.append(finding("unused-noqa", text, place))
        return found

    def _silenced(self, one: Diagnostic) -> bool:
        if one.place is None or not (comments := self._of(one.place.file)):
            return False
        location = self._locator.locate(one.place)
        for comment in comments:
            if comment.line not in (location.line, location.end_line):
                continue
            for name in comment.names:
                if not matches(name, one.code):
                    continue
                self._used.add((one.place.file, comment.line, name))
                if not prevents(one):
                    return True
                text = f"noqa: {name} has no effect: {one.code} cannot be switched off"
                place = Place(one.place.file, line=comment.line, column=comment.column)
                self._refused.append(finding("cannot-ignore", text, place))
        return False

    def _of(self, file: Path) -> tuple[Noqa, ...]:
        if file not in self._known:
            text = self._locator.text(file)
            self._known[file] = tuple(_comments(text)) if text and may_have(text) else ()
        return self._known[file]


def may_have(text: str) -> bool:
    """Tells whether a text can have such a comment."""
    return _MARK in text or _MARK.upper() in text


def _comments(text: str) -> Iterator[Noqa]:
    from compiler.document.positions import comments  # tree-sitter takes a while to load

    for line, column, comment in comments(text):
        found = _NOQA.search(comment)
        if found:
            yield Noqa(line, column + found.start(), tuple(_names(found["rest"].strip())))


def _names(text: str) -> Iterator[str]:
    """Yields the names after the colon, up to the first that has more words after it (a reason)."""
    if text.startswith(":"):
        for item in text[1:].split(","):
            words = item.split()
            yield from words[:1]
            if len(words) != 1:
                return
