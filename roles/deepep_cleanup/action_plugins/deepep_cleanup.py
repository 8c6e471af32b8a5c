"""Removes a session's work from a host once it is collected, and says what stays."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from ansible.module_utils.parsing.convert_bool import boolean
from deepep_controller import DeepEPAction
from deepep_host import events
from deepep_host.pack import LIMIT
from deepep_host.session import Session


class ActionModule(DeepEPAction):
    """Without ``session``: what sessions that do not use the host any more left longer than keep_days ago."""

    ARGUMENTS = frozenset({"session", "work_dir", "cache_dir", "uncollected", "keep_days"})

    def act(self) -> dict[str, Any]:
        wanted: dict[str, Any] = {"host": self.host, "work_dir": self.argument("work_dir", ""),
                                  "cache_dir": self.argument("cache_dir", "")}  # fmt: skip
        session = self.session() if self.argument("session") else None
        everything = boolean(self.argument("uncollected", False))
        if session is not None:
            wanted.update(run_id=session.run_id, keep=[] if everything else self._keep(session))
        if session is None and everything:
            wanted["keep_days"] = 0.0
        elif self.argument("keep_days") is not None:
            wanted["keep_days"] = float(self.argument("keep_days"))
        answer = self.call("deepep_cleanup", **wanted)
        if answer.problem:
            # A session's end goes on without the host; where cleaning up is all that was asked, it failed.
            return {"msg": answer.problem, "kept": wanted.get("keep", []), "failed": session is None}
        values = answer.values
        if session is not None:
            told = {name: values[name] for name in ("kept", "ended", "expired")}
            events.append(session.results_dir, "cleanup", host=self.host, **told)
        parts = [f"removed {', '.join(values['removed']) or 'nothing'}"]
        parts += [f"removed for its age {text}" for text in values["expired"]]
        left = values["credentials"]
        parts += [f"removed credentials of killed runs: {', '.join(left)}"] if left else []
        parts += [f"ended {len(values['ended'])} processes"] if values["ended"] else []
        parts += [f"kept, not collected: {', '.join(values['kept'])}"] if values["kept"] else []
        parts += [f"still in use: {', '.join(values['in_use'])}"] if values["in_use"] else []
        text = "; ".join(parts)
        if session is None or values["expired"]:
            # Ansible shows a task's message at -v alone.
            self._display.display(f"{self.host}: {text}")
        return {**values, "changed": values["changed"], "msg": text}

    def _keep(self, session: Session) -> list[str]:
        keep = []
        for run in session.plan()["runs"]:
            note = session.note(run["id"], "collected-" + self.host) or {}
            started = session.host_state(run["id"], self.host)
            beyond = any(one["why"] == LIMIT for one in note.get("left_out") or ())
            if started and (beyond or not note.get("complete")):
                keep.append(run["id"])
        return keep
