"""Ends all jobs of a session by their recorded ids."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_slurm_controller import SlurmAction


class ActionModule(SlurmAction):
    """Jobs that run are asked to end their runs, so that their hosts record how; others are cancelled."""

    ARGUMENTS = frozenset({"session", "work_dir", "cause"})

    def act(self) -> dict[str, Any]:
        if self.check_mode:
            return {"msg": "check mode: would end the session's jobs"}
        session = self.session()
        cause = str(self.argument("cause", "stopped on request"))
        session.request_stop(cause)
        jobs = self.submitted(session)
        problem = self.end(session, jobs, cause)
        return {
            "failed": problem is not None,
            "changed": bool(jobs),
            "stopped": sorted(jobs),
            "msg": problem or f"stopped: {', '.join(sorted(jobs)) or 'nothing ran'}",
        }
