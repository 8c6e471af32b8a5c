"""progress.json: where this host is. Written by its first rank, at most four times a second."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from .files import write_json

_SHORTEST_INTERVAL_S = 0.25


class Progress:
    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._written = float("-inf")
        self._key: Any | None = None

    def show(self, phase: str, operation: str | None = None, done: int = 0, total: int = 0) -> None:
        """A new phase or operation is always written, steps within one when enough time has passed."""
        if self._path is None:
            return
        now = time.monotonic()
        if (phase, operation) == self._key and now - self._written < _SHORTEST_INTERVAL_S:
            return
        self._key, self._written = (phase, operation), now
        state: dict[str, Any] = {"phase": phase, "operation": operation, "done": done, "total": total}
        write_json(self._path, state)
