"""Stops one run, or all runs of a session, on one host."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_controller import DeepEPAction, told_at_end
from deepep_host import events
from deepep_host.session import Session


class ActionModule(DeepEPAction):
    """Without ``run`` the whole session is stopped: no further run of it starts.

    Then a host on which something may go on fails the task: nobody shall take it for stopped.
    """

    ARGUMENTS = frozenset({"session", "run", "work_dir", "cause"})

    def act(self) -> dict[str, Any]:
        key = self.argument("run", "")
        if self.check_mode:
            return {"msg": f"check mode: would stop {key or 'all runs'} on {self.host}"}
        session = self.session()
        if key and (session.skipped(key) or session.kept(key)):
            return {"msg": f"{key} is not run"}
        cause = self.argument("cause", "stopped on request")
        if not key:
            session.request_stop(cause)
        else:
            events.append(session.results_dir, "stop", run=key, host=self.host, cause=cause)
        answer = self.call(
            "deepep_stop",
            run_id=session.run_id,
            host=self.host,
            run=key,
            work_dir=self.argument("work_dir", ""),
            cause=cause,
        )
        found: dict[str, Any] = {} if answer.problem else answer.values["runs"]
        stopped = [] if answer.problem else answer.values["stopped"]
        problem = None if key else self._unsure(session, answer.problem, found)
        for run in found:
            if run in stopped or session.may_run(run, self.host):
                session.keep_host_state(run, self.host, found[run])
                events.append(
                    session.results_dir, "ended", run=run, host=self.host, **told_at_end(found[run])
                )
        if not key:
            session.keep_answer(self.host, problem)
        return {
            "failed": problem is not None,
            "changed": bool(stopped),
            "stopped": stopped,
            "msg": problem or answer.problem or f"stopped: {', '.join(stopped) or 'nothing ran'}",
        }

    def _unsure(self, session: Session, problem: str | None, found: dict[str, Any]) -> str | None:
        """Returns why something of the session may go on here, None where that is not so."""
        open_runs = [
            run["id"]
            for run in session.plan()["runs"]
            if any(member["name"] == self.host for member in run["hosts"])
            and session.may_run(run["id"], self.host)
        ]
        if problem:
            return f"{', '.join(open_runs)} may go on here: {problem}" if open_runs else None
        gone = []
        for run in open_runs:
            if run in found:
                continue
            if (session.host_state(run, self.host) or {}).get("pid"):
                gone.append(run)
            else:
                session.keep_absent(run, self.host)
        return f"{', '.join(gone)} ran here, and nothing is left to stop it by" if gone else None
