"""Starts a run on one host: leaves its supervisor running there and returns at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_controller import DeepEPAction
from deepep_host import events
from deepep_host.state import ended, new_state


class ActionModule(DeepEPAction):
    """A host that cannot start is recorded as such; its peers are stopped by those who wait."""

    ARGUMENTS = frozenset({"session", "run", "work_dir", "python", "jit_cache_dir"})

    def act(self) -> dict[str, Any]:
        key = self.argument("run")
        if self.check_mode:
            return {"msg": f"check mode: would start {key} on {self.host}"}
        session = self.session()
        if session.skipped(key) or session.kept(key):
            return {"msg": f"{key} is not run"}
        point = session.note(key, "rendezvous")
        if point is None:
            session.skip(key, "it has no meeting point: the play was interrupted or its first host lost")
            return {"msg": f"{key} is not run"}
        begun = new_state(session.run_id, key, self.host)
        answer = self.call(
            "deepep_start",
            run_id=session.run_id,
            host=self.host,
            run=key,
            work_dir=self.argument("work_dir", ""),
            python=self.argument("python", ""),
            jit_cache_dir=self.argument("jit_cache_dir", ""),
            master_addr=point["master_addr"],
            master_port=point["master_port"],
        )
        if answer.problem:
            outcome = "lost" if answer.unreachable else "start_failed"
            # A host may be lost when the run has begun there, and before that could be told: others may have
            # failed by then because of it.
            since = begun["started_at"] if answer.unreachable else None
            state = ended({**begun, "first_failure_at": since}, outcome, answer.problem)
        else:
            state = answer.values["state"]
            session.take_note(key, "launch-" + self.host, answer.values.get("launch") or {})
        session.keep_host_state(key, self.host, state)
        told = {name: state[name] for name in ("status", "cause", "deadline_at")}
        events.append(session.results_dir, "start", run=key, host=self.host, **told)
        if state["status"] == "ended" and state["outcome"] != "exited":
            return {
                "msg": f"{key} did not start on {self.host}: {state['cause']}",
                "status": state["outcome"],
            }
        return {"changed": True, "msg": f"{key} runs on {self.host}", "status": state["status"]}
