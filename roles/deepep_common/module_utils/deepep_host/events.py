"""The session's log of what happened, one JSON object a line; several processes append to it."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from .files import now_iso


def append(session_dir: str | Path, event: str, **fields: Any) -> None:
    """Appends one event to events.jsonl. A session whose directory is gone loses it silently."""
    line = json.dumps({"t": now_iso(), "event": event, **fields}) + "\n"
    try:
        handle = os.open(Path(session_dir) / "events.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.write(handle, line.encode("ascii"))
    finally:
        os.close(handle)
