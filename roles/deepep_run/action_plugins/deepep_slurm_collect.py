"""Fetches and judges what the jobs of a session have left, whatever became of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_slurm_controller import OVER, PATIENCE_S, SlurmAction


class ActionModule(SlurmAction):
    """Runs that were judged stay as they are; a job that still runs is fetched as it is."""

    def act(self) -> dict[str, Any]:
        if self.check_mode:
            return {"msg": "check mode: would collect what the jobs left"}
        session = self.session()
        jobs = self.submitted(session)
        problems = []
        found: dict[str, Any] = {}
        if jobs:
            answer = self.ask(
                session,
                "watch",
                jobs={key: job["job_id"] for key, job in jobs.items()},
                patience_s=PATIENCE_S,
            )
            found = answer.values.get("jobs") or {}
            problems += [answer.problem] if answer.problem else []
        for key, job in jobs.items():
            look = found.get(key)
            if look is None:
                continue
            self.observe(session, key, look)
            problem = self.collect(session, key, job, ask_hosts=look["phase"] != OVER)
            problems += [f"{key}: {problem}"] if problem else []
            if look["phase"] != OVER and problem is None:
                self.ask(session, "release", job=job["job"])
                look = self._settled(key, job, look)
            self.conclude(session, key, job, look)
        problems += self.salvage(session)
        stop = session.stop_request()
        for run in session.plan()["runs"]:
            if session.verdict(run["id"]) is None:
                if stop and run["id"] not in jobs:
                    session.skip(run["id"], f"the session was stopped: {stop['cause']}")
                self.judge(session, run["id"])
        return {
            "changed": bool(jobs),
            "msg": "; ".join(problems) or f"collected {', '.join(jobs) or 'nothing'}",
            "complete": not problems,
        }

    def _settled(self, key: str, job: dict[str, Any], look: dict[str, Any]) -> dict[str, Any]:
        """Returns how the job ended, if it does so shortly now that its hosts may go; else as it was."""
        answer = self.ask(
            self.session(), "watch", jobs={key: job["job_id"]}, seen={key: look["print"]}, poll_s=2, wait_s=20
        )
        fresh = (answer.values.get("jobs") or {}).get(key) if not answer.problem else None
        return dict(fresh or look)
