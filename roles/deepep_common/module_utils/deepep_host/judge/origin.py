"""From which execution of its session a run is: one that was resumed has several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..session import EARLIER
from .evidence import Evidence


def notes_on_origin(evidence: Evidence, session: Mapping[str, Any]) -> list[str]:
    """Returns whether a run was kept from an earlier execution, or where its earlier attempts are."""
    executions = [one for one in session.get("executions") or [] if isinstance(one, dict)]
    if len(executions) < 2:
        return []
    key = str(evidence.run["id"])
    launch = evidence.read_json("launch.json")
    mine = launch.get("run_id") if isinstance(launch, dict) else None
    notes = []
    for one in executions[:-1]:
        if one.get("run_id") == mine:
            notes.append(f"kept from {mine}, started {one.get('started_at')}; the session was resumed since")
    root = evidence.run_dir
    for _ in key.split("/"):
        root = root.parent
    for one in executions[:-1]:
        if (root / EARLIER / str(one.get("run_id")) / key).is_dir():
            notes.append(f"repeated: what {one['run_id']} left of it is in {EARLIER}/{one['run_id']}/{key}")
    return notes
