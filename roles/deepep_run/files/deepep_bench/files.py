"""Files that others may read at any time: written beside, then renamed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` as a whole; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def write_json(path: Path, value: Any) -> None:
    """As write_text; refuses NaN and infinity, which are no JSON."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")
