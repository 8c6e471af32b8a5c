"""A TOML file that was read: its text and its values, without positions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Document:
    """``data`` is what tomli made of ``text`` (the file without its byte order mark)."""

    path: Path
    text: str
    data: dict[str, object]
