"""Brings the newest state and log lines of runs that are under way to the controller."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from ansible.module_utils.parsing.convert_bool import boolean
from deepep_controller import DeepEPAction
from deepep_host.files import host_name
from deepep_host.look import STREAMS
from deepep_host.session import Session


class ActionModule(DeepEPAction):
    """Keeps states and logs in the session's ``.state``; a host out of reach is told, not failed.

    With ``adopting``, a host where the session is another user's fails the task: from here nothing can be
    said of what runs there, and nothing may follow from that.
    """

    ARGUMENTS = frozenset({"session", "work_dir", "adopting"})

    def act(self) -> dict[str, Any]:
        session = self.session()
        adopting = boolean(self.argument("adopting", False))
        wanted = {
            run["id"]: {stream: _size(self._path(session, run["id"], stream)) for stream in STREAMS}
            for run in session.plan()["runs"]
            if any(member["name"] == self.host for member in run["hosts"])
            and session.started(run["id"])
            and (session.unsettled(run) if adopting else session.verdict(run["id"]) is None)
        }
        if not wanted:
            session.keep_answer(self.host, None)
            return {"msg": "nothing is under way here"}
        answer = self.call("deepep_look", run_id=session.run_id, host=self.host, runs=wanted,
                           work_dir=self.argument("work_dir", ""))  # fmt: skip
        session.keep_answer(self.host, answer.problem)
        if answer.problem:
            foreign = adopting and bool(answer.values.get("other_user"))
            return {"msg": answer.problem, "problem": answer.problem, "failed": foreign}
        if adopting:
            return {"msg": f"this host answers for {', '.join(sorted(wanted))}"}
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
