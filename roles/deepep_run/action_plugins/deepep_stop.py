"""Stops one run, or all runs of a session, on one host."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_controller import DeepEPAction, told_at_end
from deepep_host import events


class ActionModule(DeepEPAction):
    """Without ``run`` the whole session is stopped: no further run of it starts."""

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
        if answer.problem:
            return {"msg": answer.problem, "stopped": []}
        stopped = answer.values.get("stopped") or []
        for run in stopped:
            state = answer.values["runs"][run]
            session.keep_host_state(run, self.host, state)
            events.append(session.results_dir, "ended", run=run, host=self.host, **told_at_end(state))
        return {
            "changed": bool(stopped),
            "stopped": stopped,
            "msg": f"stopped: {', '.join(stopped) or 'nothing ran'}",
        }
