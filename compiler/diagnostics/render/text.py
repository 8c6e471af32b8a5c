"""Diagnostics for people: source line, caret under the exact span, why, and what to write instead."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from compiler.diagnostics.codes import code_of
from compiler.diagnostics.locate import Location
from compiler.diagnostics.model import Diagnostic, Severity
from compiler.diagnostics.wording import printable

_TAB = 4
_WIDTH = 140
_COLOURS = {Severity.ERROR: "\x1b[1;31m", Severity.WARNING: "\x1b[1;33m", Severity.INFO: "\x1b[1;36m"}
_DIM, _END = "\x1b[2m", "\x1b[0m"


def render(found: Sequence[tuple[Diagnostic, Location | None]], *, colour: bool) -> str:
    """Returns one block per diagnostic, with a blank line after each."""
    return "".join("\n".join(_block(one, location, colour)) + "\n\n" for one, location in found)


def _block(one: Diagnostic, location: Location | None, colour: bool) -> Iterator[str]:
    paint = _COLOURS[one.severity] if colour else ""
    dim, end = (_DIM, _END) if colour else ("", "")
    code = code_of(one.code)
    slug = f" {code.slug}" if code else ""
    message = printable(one.message)
    yield f"{paint}{one.severity.value}[{one.code}]{end}{slug}"
    margin = ""
    if location is None:
        yield f"   {message}"
    else:
        margin = " " * len(str(location.line or ""))
        spot = "".join(f":{number}" for number in (location.line, location.column) if number is not None)
        yield f"{margin}{dim}-->{end} {printable(str(location.file))}{spot}"
        if location.source is None or location.line is None or location.column is None:
            yield f"{margin} {dim}|{end} {message}"
        else:
            source, indent, width = _excerpt(location.source, location.column, _width(location))
            yield f"{margin} {dim}|{end}"
            yield f"{dim}{location.line} |{end} {source}".rstrip()
            yield f"{margin} {dim}|{end} {' ' * indent}{paint}{'^' * width} {message}{end}"
    for label, text in (("why", one.why), ("fix", one.fix)):
        if text:
            rest = "\n" + " " * (len(margin) + 8)
            yield f"{margin} {dim}={end} {label}: " + rest.join(printable(line) for line in text.split("\n"))


def _width(location: Location) -> int:
    source, column = location.source or "", location.column or 1
    last = location.end_column if location.end_line == location.line else len(source) + 1
    return max((last or column + 1) - column, 1)


def _excerpt(source: str, column: int, width: int) -> tuple[str, int, int]:
    """Returns the line (a window of it if it is long), the cells before the span, and the span's cells."""
    start = column - 1
    before, span, after = source[:start], source[start : start + width], source[start + width :]
    if len(source) > _WIDTH:
        before = ("..." + before[-_WIDTH // 3 :]) if len(before) > _WIDTH // 3 + 3 else before
        span = span if len(span) <= _WIDTH // 2 else span[: _WIDTH // 2 - 3] + "..."
        room = max(_WIDTH - len(before) - len(span), 10)
        after = after if len(after) <= room else after[:room] + "..."
    before, span, after = _cells(before), _cells(span), _cells(after)
    return before + span + after, _columns(before), max(_columns(span), 1)


def _cells(text: str) -> str:
    return printable(text.replace("\t", " " * _TAB))


def _columns(text: str) -> int:
    """Returns the number of terminal cells that a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )
