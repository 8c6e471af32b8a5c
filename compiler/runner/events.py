"""Reads ``events.jsonl`` while playbooks append to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

Event = Mapping[str, object]


class EventFile:
    """Follows one file: every call of :meth:`new` yields what was added since the last one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> Iterator[Event]:
        """Yields complete new lines that are JSON objects; a line being written is left for the next call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        end = data.rfind(b"\n") + 1
        self._offset += end
        for line in data[:end].splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event
