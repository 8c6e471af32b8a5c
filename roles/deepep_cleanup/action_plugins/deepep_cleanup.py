"""Removes a session's work from a host once it is collected, and says what stays."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_controller import DeepEPAction
from deepep_host import events
from deepep_host.session import Session


class ActionModule(DeepEPAction):
    """Without ``session``: everything of sessions that no longer run on the host."""

    ARGUMENTS = frozenset({"session", "work_dir", "uncollected"})

    def act(self) -> dict[str, Any]:
        wanted: dict[str, Any] = {"host": self.host, "work_dir": self.argument("work_dir", "")}
        session = self.session() if self.argument("session") else None
        if session is not None:
            wanted.update(
                run_id=session.run_id, keep=[] if self.argument("uncollected", False) else self._keep(session)
            )
        answer = self.call("deepep_cleanup", **wanted)
        if answer.problem:
            return {"msg": answer.problem, "kept": wanted.get("keep", [])}
        values = answer.values
        if session is not None:
            events.append(
                session.results_dir, "cleanup", host=self.host, kept=values["kept"], ended=values["ended"]
            )
        parts = [f"removed {len(values['removed'])} directories"]
        parts += [f"ended {len(values['ended'])} processes"] if values["ended"] else []
        parts += [f"kept, not collected: {', '.join(values['kept'])}"] if values["kept"] else []
        parts += [f"still in use: {', '.join(values['in_use'])}"] if values["in_use"] else []
        return {**values, "changed": values["changed"], "msg": "; ".join(parts)}

    def _keep(self, session: Session) -> list[str]:
        keep = []
        for run in session.plan()["runs"]:
            note = session.note(run["id"], "collected-" + self.host)
            started = session.host_state(run["id"], self.host)
            if started and not (note or {}).get("complete"):
                keep.append(run["id"])
        return keep
