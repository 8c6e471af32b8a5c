"""Diagnostics as GitHub Actions' workflow commands: annotations on the lines of a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.diagnostics.codes import code_of
from compiler.diagnostics.locate import Location
from compiler.diagnostics.model import Diagnostic, Severity

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def render(found: Sequence[tuple[Diagnostic, Location | None]], *, colour: bool) -> str:
    """Returns one command per line; ``colour`` changes nothing."""
    return "".join(f"{_command(one, location)}\n" for one, location in found)


def _command(one: Diagnostic, location: Location | None) -> str:
    code = code_of(one.code)
    properties: dict[str, object] = {}
    if location is not None:
        properties["file"] = location.file
        properties["line"] = location.line
        if location.line is not None and location.line == location.end_line:  # columns of one line only
            properties["col"] = location.column
            properties["endColumn"] = location.end_column
        properties["endLine"] = location.end_line
    properties["title"] = f"{one.code} {code.slug}" if code else one.code
    said = ",".join(f"{name}={_property(value)}" for name, value in properties.items() if value is not None)
    parts = [
        one.message,
        *(f"{label}: {text}" for label, text in (("why", one.why), ("fix", one.fix)) if text),
    ]
    return f"::{_COMMANDS[one.severity]} {said}::{_data(chr(10).join(parts))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: object) -> str:
    return _data(str(value)).replace(":", "%3A").replace(",", "%2C")
