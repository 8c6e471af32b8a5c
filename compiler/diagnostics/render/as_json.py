"""Diagnostics for programs: JSON as ``schemas/diagnostics.schema.json`` describes it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from compiler.diagnostics.codes import code_of
from compiler.diagnostics.locate import Location
from compiler.diagnostics.model import Diagnostic, Severity
from compiler.diagnostics.wording import key_text


def render(found: Sequence[tuple[Diagnostic, Location | None]], *, colour: bool) -> str:
    """Returns one JSON document with a final newline; ``colour`` changes nothing."""
    counts = {
        f"{severity.value}s": sum(one.severity == severity for one, _ in found) for severity in Severity
    }
    records = [_record(one, location) for one, location in found]
    return json.dumps({"schema": 1, "summary": counts, "diagnostics": records}, indent=2) + "\n"


def _record(one: Diagnostic, location: Location | None) -> dict[str, object]:
    code = code_of(one.code)
    place = one.place
    return {
        "code": one.code,
        "slug": code.slug if code else None,
        "severity": one.severity.value,
        "message": one.message,
        "file": str(place.file) if place else None,
        "key": key_text(place.path) if place and place.path else None,
        "line": location.line if location else None,
        "column": location.column if location else None,
        "end_line": location.end_line if location else None,
        "end_column": location.end_column if location else None,
        "why": one.why or None,
        "fix": one.fix or None,
    }
