"""Brings the newest state and log lines of runs that are under way to the controller."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_controller import DeepEPAction
from deepep_host.files import host_name
from deepep_host.look import STREAMS
from deepep_host.session import Session


class ActionModule(DeepEPAction):
    """Keeps states and logs in the session's ``.state``; a host out of reach is told, not failed."""

    ARGUMENTS = frozenset({"session", "work_dir"})

    def act(self) -> dict[str, Any]:
        session = self.session()
        wanted = {
            run["id"]: {stream: _size(self._path(session, run["id"], stream)) for stream in STREAMS}
            for run in session.plan()["runs"]
            if any(member["name"] == self.host for member in run["hosts"])
            and session.started(run["id"])
            and session.verdict(run["id"]) is None
        }
        if not wanted:
            return {"msg": "nothing is under way here"}
        answer = self.call("deepep_look", run_id=session.run_id, host=self.host, runs=wanted,
                           work_dir=self.argument("work_dir", ""))  # fmt: skip
        if answer.problem:
            return {"msg": answer.problem, "problem": answer.problem}
        for key, found in answer.values["runs"].items():
            if found["state"] is not None:
                session.keep_host_state(key, self.host, found["state"])
            for stream, text in found["logs"].items():
                with self._path(session, key, stream).open("ab") as file:
                    file.write(base64.b64decode(text))
        return {"msg": f"looked at {', '.join(sorted(wanted))}"}

    def _path(self, session: Session, key: str, stream: str) -> Path:
        return session.note_path(key, "live-" + host_name(self.host)).with_suffix(f".{stream}.txt")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
