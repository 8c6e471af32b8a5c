"""Starts a run on one host: leaves its supervisor running there and returns at once."""

from __future__ import annotations

import os
import sys
from typing import Any

_ROLES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(_ROLES, "deepep_common", "controller"))

from deepep_controller import DeepEPAction  # noqa: E402 - only found by the line above
from deepep_host import events  # noqa: E402
from deepep_host.state import ended, new_state  # noqa: E402


class ActionModule(DeepEPAction):
    """A host that cannot start is recorded as such; its peers are stopped by those who wait."""

    ARGUMENTS = frozenset({"session", "run", "work_dir", "python"})

    def act(self) -> dict[str, Any]:
        key = self.argument("run")
        if self.check_mode:
            return {"msg": f"check mode: would start {key} on {self.host}"}
        session = self.session()
        if session.skipped(key):
            return {"msg": f"{key} is not run"}
        point = session.note(key, "rendezvous")
        if point is None:
            session.skip(key, "it has no meeting point: the play was interrupted or its first host lost")
            return {"msg": f"{key} is not run"}
        answer = self.call(
            "deepep_start",
            run_id=session.run_id,
            host=self.host,
            run=key,
            work_dir=self.argument("work_dir", ""),
            python=self.argument("python", ""),
            master_addr=point["master_addr"],
            master_port=point["master_port"],
        )
        if answer.problem:
            state = ended(
                new_state(session.run_id, key, self.host),
                "lost" if answer.unreachable else "start_failed",
                answer.problem,
            )
        else:
            state = answer.values["state"]
            session.take_note(key, "launch-" + self.host, answer.values.get("launch") or {})
        session.keep_host_state(key, self.host, state)
        events.append(
            session.results_dir, "start", run=key, host=self.host, status=state["status"], cause=state["cause"],
            deadline_at=state["deadline_at"],
        )  # fmt: skip
        if state["status"] == "ended" and state["outcome"] != "exited":
            return {
                "msg": f"{key} did not start on {self.host}: {state['cause']}",
                "status": state["outcome"],
            }
        return {"changed": True, "msg": f"{key} runs on {self.host}", "status": state["status"]}
