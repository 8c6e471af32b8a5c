"""Brings a run's files from a host into the result tree: packed, verified, unpacked, put in place."""

from __future__ import annotations

import base64
import os
import shutil
import sys
from typing import Any

_ROLES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(_ROLES, "deepep_common", "controller"))

from deepep_controller import DeepEPAction  # noqa: E402 - only found by the line above
from deepep_host import events  # noqa: E402
from deepep_host.assemble import distribute  # noqa: E402
from deepep_host.files import now_iso, write_bytes  # noqa: E402
from deepep_host.pack import BadArchive, digest, unpack  # noqa: E402
from deepep_host.session import Session  # noqa: E402

ATTEMPTS = 3


class ActionModule(DeepEPAction):
    """Without ``run``: all runs of the session that this host took part in and that are not complete yet."""

    ARGUMENTS = frozenset({"session", "run", "work_dir"})

    def act(self) -> dict[str, Any]:
        key = self.argument("run")
        if self.check_mode:
            return {"msg": f"check mode: would collect {key or 'all runs'} from {self.host}"}
        session = self.session()
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
        return not (session.note(run["id"], "collected-" + self.host) or {}).get("complete")

    def _collect(self, session: Session, run: dict[str, Any]) -> str | None:
        """Collects one run; returns None, or why it is incomplete."""
        key = run["id"]
        if session.skipped(key):
            return None
        target = session.run_dir(key)
        os.makedirs(target, exist_ok=True)
        where = {
            "run_id": session.run_id,
            "host": self.host,
            "run": key,
            "work_dir": self.argument("work_dir", ""),
        }
        answer = self.call("deepep_pack", **where)
        if answer.problem:
            return self._note(session, key, answer.problem)
        state = answer.values.get("state")
        if state is None:
            return self._note(session, key, "there is nothing of this run on the host")
        incoming = session.note_path(key, "incoming-" + self.host)[: -len(".json")]
        shutil.rmtree(incoming, ignore_errors=True)
        try:
            paths = [self._part(where, answer.values["folder"], part, incoming + ".parts")
                     for part in answer.values["parts"]]  # fmt: skip
            names = unpack(paths, incoming)
        except (BadArchive, OSError) as error:
            return self._note(session, key, str(error))
        placed = distribute(incoming, names, target, self.host, run["hosts"][0]["name"] == self.host)
        shutil.rmtree(incoming + ".parts", ignore_errors=True)
        session.keep_host_state(key, self.host, state)
        # What is collected while it still runs must be collected again.
        complete = state["status"] == "ended"
        return self._note(session, key, None if complete else f"still {state['status']} there", placed)

    def _part(self, where: dict[str, Any], folder: str, part: dict[str, Any], target: str) -> str:
        """Fetches one part unless it is here already; returns its path. Raises BadArchive."""
        path = os.path.join(target, part["name"])
        for _ in range(ATTEMPTS):
            if digest(path) == part["sha256"]:
                return path
            content = part.get("content")
            if content is not None:
                write_bytes(path, base64.b64decode(content))
                continue
            os.makedirs(target, exist_ok=True)
            if self._play_context.become:
                # Files of another user: only a module can read them.
                answer = self.call("deepep_pack", part=part["name"], **where)
                if answer.problem:
                    raise BadArchive(answer.problem)
                write_bytes(path, base64.b64decode(answer.values["content"]))
            else:
                self._fetch(folder + "/" + part["name"], path)
        if digest(path) == part["sha256"]:
            return path
        raise BadArchive(f"{part['name']} arrived damaged {ATTEMPTS} times")

    def _fetch(self, source: str, path: str) -> None:
        from ansible.errors import AnsibleError

        try:
            self._connection.fetch_file(source, path)
        except AnsibleError as error:
            self._reset()
            raise BadArchive(f"{os.path.basename(source)} could not be fetched: {error}") from error

    def _note(
        self, session: Session, key: str, problem: str | None, placed: list[str] | None = None
    ) -> str | None:
        session.take_note(
            key,
            "collected-" + self.host,
            {"complete": problem is None, "problem": problem, "files": placed or [], "at": now_iso()},
        )
        events.append(
            session.results_dir, "collect", run=key, host=self.host, complete=problem is None, problem=problem,
            files=len(placed or ()),
        )  # fmt: skip
        return problem
