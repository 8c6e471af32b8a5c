"""Diagnostics as SARIF 2.1.0, which code scanning services and editors read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from compiler import __version__
from compiler.diagnostics.codes import Code, code_of
from compiler.diagnostics.locate import Location
from compiler.diagnostics.model import Diagnostic, Severity
from compiler.diagnostics.wording import key_text, printable

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def render(found: Sequence[tuple[Diagnostic, Location | None]], *, colour: bool) -> str:
    """Returns one log with one run; ``colour`` changes nothing."""
    codes = sorted({one.code for one, _ in found})
    index = {code: number for number, code in enumerate(codes)}
    driver: dict[str, object] = {"name": "deepep-compiler", "version": __version__}
    driver["rules"] = [_rule(code, code_of(code)) for code in codes]
    log = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "results": [_result(one, location, index[one.code]) for one, location in found],
            }
        ],
    }
    return json.dumps(log, indent=2) + "\n"


def _rule(name: str, code: Code | None) -> dict[str, object]:
    if code is None:
        return {"id": name}
    words = "".join(word.capitalize() for word in code.slug.split("-"))
    return {
        "id": name,
        "name": words,
        "shortDescription": {"text": f"{code.title[0].upper()}{code.title[1:]}."},
        "fullDescription": {"text": code.why},
        "help": {"text": f"{code.why}\n\nWay out: {code.fix}"},
        "defaultConfiguration": {"level": _LEVELS[code.severity]},
    }


def _result(one: Diagnostic, location: Location | None, index: int) -> dict[str, object]:
    parts = [
        one.message,
        *(f"{label}: {text}" for label, text in (("why", one.why), ("fix", one.fix)) if text),
    ]
    result: dict[str, object] = {
        "ruleId": one.code,
        "ruleIndex": index,
        "level": _LEVELS[one.severity],
        "message": {"text": "\n".join(printable_lines(part) for part in parts)},
    }
    if location is not None:
        place: dict[str, object] = {"artifactLocation": {"uri": uri(location.file)}}
        region = _region(location)
        if region:
            place["region"] = region
        here: dict[str, object] = {"physicalLocation": place}
        if one.place and one.place.path:
            here["logicalLocations"] = [{"fullyQualifiedName": key_text(one.place.path), "kind": "member"}]
        result["locations"] = [here]
    return result


def printable_lines(text: str) -> str:
    """Returns the text with control characters as escapes, its lines kept."""
    return "\n".join(printable(line) for line in text.split("\n"))


def _region(location: Location) -> dict[str, int]:
    values = {
        "startLine": location.line,
        "startColumn": location.column,
        "endLine": location.end_line,
        "endColumn": location.end_column,
    }
    if location.line is None:
        return {}
    return {name: value for name, value in values.items() if value is not None}


def uri(path: Path) -> str:
    """Returns a file as a URI: relative as it was given, absolute with ``file:``."""
    text = quote(path.as_posix(), safe="/~", errors="surrogateescape")
    return f"file://{text}" if path.is_absolute() else text
