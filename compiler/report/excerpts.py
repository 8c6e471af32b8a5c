"""The lines of a log around a failure."""

from __future__ import annotations

import re
from collections import deque
from itertools import islice
from pathlib import Path

from compiler.report.model import Excerpt

BEFORE = 12
AFTER = 16
LAST = 14
_LONGEST = 300
_ESCAPE = re.compile("\x1b\\[[0-9;?]*[A-Za-z]")


def around(top: Path, name: str, line: int) -> Excerpt | None:
    """Returns the lines around ``line`` (from 1) of a file below ``top``, None where it cannot be read."""
    first = max(1, line - BEFORE)
    try:
        with (top / name).open(encoding="utf-8", errors="replace", newline="\n") as file:
            lines = [_clean(text) for text in islice(file, first - 1, line + AFTER)]
    except OSError:
        return None
    return Excerpt(name, first, lines, line) if lines else None


def end_of(top: Path, name: str) -> Excerpt | None:
    """Returns the last lines of a file below ``top``, None where it is empty or cannot be read."""
    kept: deque[str] = deque(maxlen=LAST)
    count = 0
    try:
        with (top / name).open(encoding="utf-8", errors="replace", newline="\n") as file:
            for text in file:
                kept.append(_clean(text))
                count += 1
    except OSError:
        return None
    return Excerpt(name, count - len(kept) + 1, list(kept), None) if kept else None


def _clean(line: str) -> str:
    bare = _ESCAPE.sub("", line.rstrip("\r\n")).replace("\t", "    ")
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in bare)
    return shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "…"
