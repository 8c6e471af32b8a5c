"""Removes a session's files from the login host (and the shared directory) once they were fetched."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_host import events
from deepep_slurm_controller import SlurmAction


class ActionModule(SlurmAction):
    """Without an open session there is nothing to find; what was not collected is kept."""

    def act(self) -> dict[str, Any]:
        if self.check_mode or not self.argument("session"):
            return {"msg": "nothing to clean up"}
        session = self.session()
        keep = []
        for run in session.plan()["runs"]:
            if self.job(session, run["id"]) is None or session.skipped(run["id"]):
                continue
            if not (session.note(run["id"], "collected") or {}).get("complete"):
                keep.append(run["id"])
        answer = self.ask(session, "clean", keep=keep)
        if answer.problem:
            return {"msg": answer.problem, "kept": keep}
        events.append(session.results_dir, "cleanup", host=self.host, kept=keep, ended=[])
        text = f"kept, not collected: {', '.join(keep)}" if keep else "removed what the jobs left"
        return {"changed": answer.values["changed"], "kept": keep, "msg": text}
