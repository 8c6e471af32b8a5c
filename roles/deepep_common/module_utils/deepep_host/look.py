"""Looks at a run on its host without touching it: its state and what its logs have gained."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .state import read_state, run_dir

STREAMS = ("stdout", "stderr")
CHUNK = 256 * 1024
"""Most bytes of one stream in one answer; the next look goes on from there."""


def look(base: Path, run: str, have: Mapping[str, int]) -> dict[str, Any]:
    """Returns ``{"state", "logs"}``: of each stream, in base64, what is new after ``have[stream]`` bytes.

    ``base`` is the session's directory on this host.
    """
    folder = run_dir(base, run)
    logs = {}
    for stream in STREAMS:
        try:
            with (folder / "logs" / f"{stream}.txt").open("rb") as file:
                file.seek(int(have.get(stream, 0)))
                logs[stream] = base64.b64encode(file.read(CHUNK)).decode("ascii")
        except FileNotFoundError:
            logs[stream] = ""
    return {"state": read_state(folder), "logs": logs}
