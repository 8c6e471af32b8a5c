"""Waits for the end of a run on one host, and stops it there once it has failed on another."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from ansible import context
from deepep_controller import DeepEPAction, told_at_end
from deepep_host import events
from deepep_host.files import host_name, iso_time
from deepep_host.session import Session, SessionError
from deepep_host.state import AT_THE_LIMIT, COMPILE_S, ended, new_state, planned_stop

ROUND_S = 2.0
"""How long a round of looks at all hosts takes, at least, where they outnumber forks."""

OVERTIME_S = 90.0
"""How long after the deadline a supervisor may still be busy with ending its run."""


class ActionModule(DeepEPAction):
    """Returns ``pending: true`` after one look where hosts outnumber forks: the task is then repeated.

    ``round`` counts the looks, so that the tasks know when a file has included itself often enough.

    Without ``run``: takes up every run of which a lost controller left more on this host than was fetched.
    """

    ARGUMENTS = frozenset({"session", "run", "work_dir", "poll_s", "settle_s", "lost_after_s", "round"})
    RETRIES = 0

    def act(self) -> dict[str, Any]:
        return {**self._watch(), "round": int(self.argument("round", 0)) + 1}

    def _watch(self) -> dict[str, Any]:
        key = self.argument("run")
        if self.check_mode:
            return {"msg": f"check mode: nothing to wait for in {key or 'the session'}", "pending": False}
        session = self.session()
        if key:
            if session.skipped(key) or session.kept(key):
                return {"msg": f"{key} is not run", "pending": False}
            state = session.host_state(key, self.host)
            state = state or self._lost(session, key, "it was never started here")
            return self._await(session, session.run(key), state)
        answers = [self._take_up(session, run) for run in self._unsettled(session)]
        return {
            "msg": "; ".join(answer["msg"] for answer in answers) or "nothing to take up",
            "pending": any(answer["pending"] for answer in answers),
        }

    def _await(
        self, session: Session, run: dict[str, Any], state: dict[str, Any], ends_with: str | None = None
    ) -> dict[str, Any]:
        """Waits for the end here; stops the run once that of ``ends_with`` has ended on all its hosts."""
        key = run["id"]
        peers = [member["name"] for member in run["hosts"] if member["name"] != self.host]
        forks, poll_s = int(context.CLIARGS.get("forks") or 1), float(self.argument("poll_s", 5))
        blocking = forks >= len(run["hosts"])
        # Each fork looks at several hosts in turn: none may wait long for its own.
        patience_s = poll_s if blocking else min(poll_s, ROUND_S) * forks / len(run["hosts"])
        since = session.note(key, "rendezvous") or {}
        limit = _age(since.get("at")) + float(run["time_limit_s"]) + COMPILE_S + OVERTIME_S
        while state["status"] != "ended":
            known = self._failed_peer(session, key, peers)
            state = self._look(session, key, state, limit, 0.0 if known else patience_s)
            if state["status"] == "ended":
                break
            culprit = known or self._failed_peer(session, key, peers)
            if culprit is not None:
                state = self._after(session, key, state, *culprit)
            elif ends_with is not None and self._is_over(session, ends_with):
                events.append(session.results_dir, "stop", run=key, host=self.host)
                state = self._stop(session, key, state, planned_stop(ends_with))
            elif not blocking:
                return {"msg": f"{key} still runs on {self.host}", "pending": True}
        return {"msg": _say(key, self.host, state), "pending": False, "outcome": state["outcome"],
                "exit_code": state["exit_code"]}  # fmt: skip

    def _unsettled(self, session: Session) -> list[dict[str, Any]]:
        """Returns the runs to take up; those that end with another come after it."""
        plan = session.plan()
        mine = [
            run
            for run in plan["runs"]
            if any(member["name"] == self.host for member in run["hosts"])
            and not session.kept(run["id"])
            and session.unsettled(run)
        ]
        return sorted(mine, key=lambda run: _ends_with(run) is not None)

    def _take_up(self, session: Session, run: dict[str, Any]) -> dict[str, Any]:
        """Waits for the end of a run on this host, which tells how it stands: what was seen may be old."""
        key = run["id"]
        state = session.host_state(key, self.host)
        if state is None or state["status"] != "ended":
            state = new_state(session.run_id, key, self.host)
        return self._await(session, run, state, _ends_with(run))

    def _is_over(self, session: Session, key: str) -> bool:
        """Tells whether a run has ended on all its hosts, or was never started."""
        if session.skipped(key) or not session.started(key):
            return True
        states = [session.host_state(key, member["name"]) for member in session.run(key)["hosts"]]
        return all(state is not None and state["status"] == "ended" for state in states)

    def _stop(self, session: Session, key: str, state: dict[str, Any], cause: str) -> dict[str, Any]:
        answer = self.call("deepep_stop", **self._where(session, key), cause=cause)
        found = (answer.values.get("runs") or {}).get(key) if not answer.problem else None
        if found is None:
            time.sleep(1.0)
            return state
        self._keep(session, key, state, found)
        return dict(found)

    def _look(
        self, session: Session, key: str, state: dict[str, Any], limit: float, wait_s: float
    ) -> dict[str, Any]:
        """Returns the state after a change or ``wait_s``; bears with a host that is away for a while."""
        if time.time() > limit:
            return self._give_up(session, key, state)
        answer = self.call("deepep_state", **self._where(session, key), wait_s=wait_s)
        now = time.time()
        if answer.values.get("other_user"):
            raise SessionError(str(answer.problem))
        if answer.problem:
            away = session.silent_since(key, self.host, now)
            state["away_since"] = away
            if answer.unreachable and now - away < float(self.argument("lost_after_s", 30)):
                time.sleep(min(2.0, wait_s))
                return state
            return self._lost(session, key, answer.problem, state)
        session.end_silence(key, self.host)
        asked_at = iso_time(now)
        fresh: dict[str, Any] | None = answer.values["state"]
        if fresh is None:
            return self._lost(session, key, "the run's state is gone from this host", state)
        fresh["seen_at"] = asked_at
        self._keep(session, key, state, fresh)
        return fresh

    def _keep(self, session: Session, key: str, before: dict[str, Any], state: dict[str, Any]) -> None:
        session.keep_host_state(key, self.host, state)
        if state["status"] == "ended":
            events.append(session.results_dir, "ended", run=key, host=self.host, **told_at_end(state))
        elif (state["phase"], state["progress"]) != (before["phase"], before["progress"]):
            told = {name: state[name] for name in ("phase", "progress")}
            events.append(session.results_dir, "phase", run=key, host=self.host, **told)

    def _failed_peer(self, session: Session, key: str, peers: list[str]) -> tuple[str, str] | None:
        """Returns a host on which the run has failed, and how that is told elsewhere."""
        for peer in peers:
            state = session.host_state(key, peer)
            if (
                state
                and state["status"] == "ended"
                and not (state["outcome"] == "exited" and state["exit_code"] == 0)
            ):
                if state["outcome"] == "timeout":
                    return peer, f"{AT_THE_LIMIT} {peer}"
                return peer, f"{peer} failed first: {state['cause'] or state['outcome']}"
        return None

    def _after(
        self, session: Session, key: str, state: dict[str, Any], peer: str, cause: str
    ) -> dict[str, Any]:
        """Gives the program a moment to notice by itself and to write its last words, then stops it.

        The moment begins when the failure of ``peer`` was seen, not when this host has its turn.
        """
        seen_at = session.note_path(key, "host-" + host_name(peer)).stat().st_mtime
        settle_s = float(self.argument("settle_s", 3)) - max(0.0, time.time() - seen_at)
        answer = self.call("deepep_state", **self._where(session, key), wait_s=max(0.0, settle_s))
        fresh = answer.values.get("state") if not answer.problem else None
        if fresh is None or fresh["status"] != "ended":
            return self._stop(session, key, state, cause)
        self._keep(session, key, state, fresh)
        return dict(fresh)

    def _give_up(self, session: Session, key: str, state: dict[str, Any]) -> dict[str, Any]:
        answer = self.call("deepep_stop", **self._where(session, key), cause="its deadline passed long ago")
        found = (answer.values.get("runs") or {}).get(key) if not answer.problem else None
        if found is None:
            return self._lost(session, key, "the host did not answer after the deadline", state)
        self._keep(session, key, state, found)
        return dict(found)

    def _lost(
        self, session: Session, key: str, cause: str, state: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        session.end_silence(key, self.host)
        before = state or new_state(session.run_id, key, self.host)
        # It failed at some time since it was last heard of. Others that failed since then may have waited for
        # it: their failures are known to the second, so that this one has to count from its earliest moment.
        since = before.get("seen_at") or before["started_at"]
        text = f"{cause} (last heard of at {since})"
        gone = ended({**before, "first_failure_at": before.get("first_failure_at") or since}, "lost", text)
        self._keep(session, key, before, gone)
        return gone

    def _where(self, session: Session, key: str) -> dict[str, Any]:
        return {
            "run_id": session.run_id,
            "host": self.host,
            "run": key,
            "work_dir": self.argument("work_dir", ""),
        }


def _ends_with(run: dict[str, Any]) -> str | None:
    return next((after["run"] for after in run.get("after", ()) if after["type"] == "end_post_comp"), None)


def _age(at: str | None) -> float:
    """Returns a time of now_iso as seconds since the epoch; now for None."""
    return datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp() if at else time.time()


def _say(key: str, host: str, state: dict[str, Any]) -> str:
    text = f"{key} ended on {host}: {state['outcome']}"
    text += f", exit code {state['exit_code']}" if state["exit_code"] is not None else ""
    return text + (f" ({state['cause']})" if state["cause"] else "")
