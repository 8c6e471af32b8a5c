"""Removes a session's files from the login host (and the shared directory) once they were fetched."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_host import events
from deepep_host.files import read_json
from deepep_slurm_controller import SlurmAction


class ActionModule(SlurmAction):
    """What was not collected is kept, until it is old. Without a session only what is old is removed."""

    ARGUMENTS = frozenset({"session", "work_dir", "keep_days", "bundle_dir"})

    def act(self) -> dict[str, Any]:
        if self.check_mode:
            return {"msg": "check mode: nothing is cleaned up"}
        if not self.argument("session"):
            plan = read_json(Path(self.argument("bundle_dir")) / "plan.json") or {}
            answer = self.ask_login("", plan["slurm"], "clean", keep=[], keep_s=self.keep_s())
            text = ", ".join(answer.values.get("removed") or ()) or "nothing"
            return {"changed": answer.values.get("changed", False),
                    "msg": answer.problem or f"removed for its age {text}"}  # fmt: skip
        session = self.session()
        keep = []
        for run in session.plan()["runs"]:
            key = run["id"]
            if self.job(session, key) is None or session.skipped(key) or session.kept(key):
                continue
            if not (session.note(key, "collected") or {}).get("complete"):
                keep.append(key)
        answer = self.ask(session, "clean", keep=keep, keep_s=self.keep_s())
        if answer.problem:
            return {"msg": answer.problem, "kept": keep}
        events.append(session.results_dir, "cleanup", host=self.host, kept=keep, ended=[])
        text = f"kept, not collected: {', '.join(keep)}" if keep else "removed what the jobs left"
        return {"changed": answer.values["changed"], "kept": keep, "msg": text}
