"""Submits the jobs of all runs, each after those that it has to wait for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_slurm_controller import SlurmAction
from deepep_slurm_orders import submit


class ActionModule(SlurmAction):
    """What Slurm refuses is recorded as not run, with Slurm's own words."""

    def act(self) -> dict[str, Any]:
        if self.check_mode:
            return {"msg": "check mode: no job is submitted"}
        session = self.session()
        stop = session.stop_request()
        plan = session.plan()
        waiting = [
            run for run in plan["runs"] if not session.skipped(run["id"]) and not session.kept(run["id"])
        ]
        if stop:
            for run in waiting:
                session.skip(run["id"], f"the session was stopped: {stop['cause']}")
            return {"msg": "the session was stopped"}
        return submit(self, session, plan, [run["id"] for run in waiting])
