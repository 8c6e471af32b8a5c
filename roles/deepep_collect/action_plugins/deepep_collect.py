"""Brings a run's files from a host into the result tree: packed, verified, unpacked, put in place."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_carrier import ATTEMPTS, MIB, ROOM_LEFT, Carrier, Gone, note_collected
from deepep_controller import Answer, DeepEPAction
from deepep_host.assemble import distribute
from deepep_host.incoming import Busy, Incoming
from deepep_host.pack import LIMIT, BadArchive, total_bytes
from deepep_host.session import Session


class ActionModule(DeepEPAction):
    """Without ``run``: all runs of the session that this host took part in and that are not complete yet."""

    ARGUMENTS = frozenset({"session", "run", "work_dir", "limit_mb", "lost_after_s"})
    RETRIES = 0

    def act(self) -> dict[str, Any]:
        key = self.argument("run")
        if self.check_mode:
            return {"msg": f"check mode: would collect {key or 'all runs'} from {self.host}"}
        session = self.session()
        self._limit = int(self.argument("limit_mb", 0)) * MIB
        results = {
            run["id"]: self._collect(session, run)
            for run in session.plan()["runs"]
            if (run["id"] == key if key else self._wanted(session, run))
            and any(member["name"] == self.host for member in run["hosts"])
        }
        problems = [f"{run}: {problem}" for run, problem in results.items() if problem]
        return {
            "changed": any(problem is None for problem in results.values()),
            "msg": "; ".join(problems) or f"collected {', '.join(results) or 'nothing'}",
            "complete": not problems,
        }

    def _wanted(self, session: Session, run: dict[str, Any]) -> bool:
        if session.kept(run["id"]) or not session.started(run["id"]):
            return False
        note = session.note(run["id"], "collected-" + self.host) or {}
        beyond = any(one["why"] == LIMIT for one in note.get("left_out") or ())
        return not note.get("complete") or (beyond and note.get("limit_bytes") != self._limit)

    def _collect(self, session: Session, run: dict[str, Any]) -> str | None:
        """Collects one run; returns None, or why it is incomplete."""
        key = run["id"]
        if session.skipped(key) or session.kept(key):
            return None
        target = session.run_dir(key)
        target.mkdir(parents=True, exist_ok=True)
        incoming = Incoming(session.note_path(key, "incoming-" + self.host).with_suffix(""))
        try:
            with incoming.alone():
                state, index, short = self._bring(session, key, incoming)
                names = incoming.finish()
                placed = distribute(
                    incoming.files, names, target, self.host, run["hosts"][0]["name"] == self.host
                )
                incoming.drop()
        except (BadArchive, Busy, Gone, OSError) as error:
            return self._note(session, key, str(error))
        session.keep_host_state(key, self.host, state)
        # What is collected while it still runs must be collected again.
        problem = short or (None if state["status"] == "ended" else f"still {state['status']} there")
        return self._note(session, key, problem, placed, index["left_out"])

    def _bring(
        self, session: Session, key: str, incoming: Incoming
    ) -> tuple[dict[str, Any], dict[str, Any], str | None]:
        """Fetches what is missing; returns state, index, and what the controller's disk had no room for.

        Raises BadArchive, Gone, OSError.
        """
        where = {
            "run_id": session.run_id,
            "host": self.host,
            "run": key,
            "work_dir": self.argument("work_dir", ""),
        }
        # A host that was out of reach while the run lasted gets one chance, not a long wait.
        lost = (session.host_state(key, self.host) or {}).get("outcome") == "lost"
        self._patience = 0.0 if lost else float(self.argument("lost_after_s", 30))
        for _ in range(ATTEMPTS):
            limit, short = self._limit, None
            offered = self._ask(limit_bytes=limit, **where)
            if offered.get("state") is None:
                raise BadArchive("there is nothing of this run on the host")
            free = shutil.disk_usage(session.folder).free - ROOM_LEFT
            if total_bytes(offered["index"]) > free:
                limit = max(free, 1)
                short = f"the controller has only {max(free, 0) // MIB} MiB to spare for {session.folder}"
                offered = self._ask(limit_bytes=limit, **where)
            state, index = offered["state"], offered["index"]
            carrier = self._carrier(session, key, {**where, "limit_bytes": limit})
            if carrier.bring(incoming, offered):
                return state, index, short
        raise BadArchive("the run's files changed each time they were fetched")

    def _carrier(self, session: Session, key: str, where: dict[str, Any]) -> Carrier:
        def pack(index: str, numbers: list[int]) -> dict[str, Any]:
            return self._ask(index=index, parts=numbers, inline=self.of_another_user, **where)

        return Carrier(self, session, key, self.host, self._patience, pack)

    def _ask(self, **arguments: Any) -> dict[str, Any]:
        """Calls the module, and bears with a host that is away for a while. Raises Gone, BadArchive."""
        began = time.monotonic()
        while True:
            answer: Answer = self.call("deepep_pack", **arguments)
            if not answer.problem:
                return answer.values
            if not answer.unreachable:
                raise BadArchive(answer.problem)
            if time.monotonic() - began > self._patience:
                raise Gone(answer.problem)
            time.sleep(2.0)

    def _note(
        self,
        session: Session,
        key: str,
        problem: str | None,
        placed: Sequence[str] = (),
        left_out: Sequence[Mapping[str, Any]] = (),
    ) -> str | None:
        note_collected(session, key, self.host, problem, placed, left_out, limit_bytes=self._limit)
        return problem
