"""Puts the program and the plan on the login host of a Slurm cluster, and sees whether Slurm answers."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_host import events
from deepep_host.program import pack_program
from deepep_slurm_controller import SlurmAction


class ActionModule(SlurmAction):
    """Where that fails no run is started, and each says why."""

    ARGUMENTS = frozenset({"session", "work_dir", "keep_days"})

    def act(self) -> dict[str, Any]:
        archive, sha256, files = pack_program(Path(__file__).resolve().parents[2])
        if self.check_mode:
            return {"msg": f"check mode: would stage {files} files ({len(archive) // 1024} KiB compressed)"}
        session = self.session()
        plan = session.plan()
        preflight = session.preflight(self.host) or {}
        problem = None
        expired: list[str] = []
        if preflight.get("result") == "fail":
            problem = f"the login host {self.host} did not pass its preflight"
        else:
            answer = self.ask(
                session, "stage", archive=base64.b64encode(archive).decode(), sha256=sha256, plan=plan,
                keep_s=self.keep_s(),
            )  # fmt: skip
            problem = answer.problem
            expired = answer.values.get("expired") or []
        events.append(session.results_dir, "stage", host=self.host, problem=problem, expired=expired)
        if problem:
            for run in plan["runs"]:
                session.skip(run["id"], f"nothing can be submitted: {problem}")
            return {"msg": problem, "staged": False}
        return {
            "changed": answer.values.get("changed", False),
            "staged": True,
            "msg": "; ".join(
                [
                    f"{files} files, {answer.values['version']}",
                    *(f"removed for its age {one}" for one in expired),
                ]
            ),
        }
