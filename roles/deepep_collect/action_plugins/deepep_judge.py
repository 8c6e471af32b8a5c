"""Completes the files of one run, or of all, and judges them on the controller, so that dependents know."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_controller import DeepEPAction
from deepep_host import events
from deepep_host.assemble import finish_run
from deepep_host.judge import judge_run


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
            if (key and run["id"] != key) or session.kept(run["id"]):
                continue
            folder = session.run_dir(run["id"])
            folder.mkdir(parents=True, exist_ok=True)
            if session.skipped(run["id"]) or session.note(run["id"], "rendezvous"):
                finish_run(session, run["id"])
            verdict = judge_run(run, folder, session.describe())["verdict"]
            events.append(session.results_dir, "verdict", run=run["id"], verdict=verdict)
            verdicts[run["id"]] = verdict
        return {
            "verdicts": verdicts,
            "msg": ", ".join(f"{run}: {verdict}" for run, verdict in verdicts.items()),
        }
