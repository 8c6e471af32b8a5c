"""Completes the files of one run, or of all, and judges them on the controller, so that dependents know."""

from __future__ import annotations

import os
import sys
from typing import Any

_ROLES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(_ROLES, "deepep_common", "controller"))

from deepep_controller import DeepEPAction  # noqa: E402 - only found by the line above
from deepep_host import events  # noqa: E402
from deepep_host.assemble import finish_run  # noqa: E402
from deepep_host.judge import judge_run  # noqa: E402


class ActionModule(DeepEPAction):
    """Never fails for a verdict: whether all is well is decided once, when the session is closed."""

    ARGUMENTS = frozenset({"session", "run"})

    def act(self) -> dict[str, Any]:
        if self.check_mode:
            return {"msg": "check mode: nothing is judged"}
        session = self.session()
        key = self.argument("run")
        verdicts = {}
        for run in session.plan()["runs"]:
            if key and run["id"] != key:
                continue
            folder = session.run_dir(run["id"])
            os.makedirs(folder, exist_ok=True)
            if session.skipped(run["id"]) or session.note(run["id"], "rendezvous"):
                finish_run(session, run["id"])
            verdict = judge_run(run, folder, session.describe())["verdict"]
            events.append(session.results_dir, "verdict", run=run["id"], verdict=verdict)
            verdicts[run["id"]] = verdict
        return {
            "verdicts": verdicts,
            "msg": ", ".join(f"{run}: {verdict}" for run, verdict in verdicts.items()),
        }
