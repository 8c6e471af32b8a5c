"""Stretches of a file inside a module's arguments: the way through the controller for any user and any
become.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

from ..files import SAFE_NAME

SIZE = 8 << 20
"""Bytes at a time."""


def incoming(folder: Path, name: str) -> Path:
    """Returns where a file from the controller is put before it is checked. Raises ValueError."""
    if not SAFE_NAME.match(name):
        raise ValueError(f"{name!r} is not the name of a file")
    return folder / f"{name}.relay"


def put(path: Path, offset: int, data: str) -> int:
    """Writes at ``offset`` (0 begins the file again) and returns the file's size. Raises OSError."""
    handle = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if offset == 0 else 0), 0o600
    )
    with os.fdopen(handle, "wb") as stream:
        stream.seek(offset)
        stream.write(base64.b64decode(data))
        return stream.tell()


def get(path: Path, offset: int, size: int) -> str:
    """Returns a stretch of a file in base64, empty behind its end. Raises OSError."""
    with path.open("rb") as stream:
        stream.seek(offset)
        return base64.b64encode(stream.read(size)).decode("ascii")
