"""Errors in logs of other tools, found as in this project's own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from compiler.report.foreign.model import Problem
from compiler.report.host_judge import scan_log


class LogError(NamedTuple):
    """An error of the catalogue; ``again``: other lines below the one that is named show it too."""

    problem: Problem
    line: int
    again: bool


def log_errors(path: Path, name: str) -> list[LogError]:
    """Returns the errors in a log, causes before consequences; none where it cannot be read."""
    try:
        found = scan_log(path).findings
    except OSError:
        return []
    return [
        LogError(
            Problem("error-in-log", f"{one.signature.meaning}: {one.text}", name, one.line),
            one.line,
            one.lines > 1,
        )
        for one in sorted(found, key=lambda one: one.signature.victim)
    ]
