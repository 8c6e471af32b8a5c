"""Brings a run's files from a host into the result tree: packed, verified, unpacked, put in place."""

from __future__ import annotations

import base64
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from ansible.errors import AnsibleError
from deepep_controller import DeepEPAction
from deepep_host import events
from deepep_host.assemble import distribute
from deepep_host.files import now_iso, write_bytes
from deepep_host.pack import BadArchive, digest, unpack
from deepep_host.session import Session

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
        target.mkdir(parents=True, exist_ok=True)
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
        incoming = session.note_path(key, "incoming-" + self.host).with_suffix("")
        fetched = incoming.with_name(incoming.name + ".parts")
        shutil.rmtree(incoming, ignore_errors=True)
        try:
            source = Path(answer.values["folder"])
            paths = [self._part(where, source, part, fetched) for part in answer.values["parts"]]
            names = unpack(paths, incoming)
        except (BadArchive, OSError) as error:
            return self._note(session, key, str(error))
        placed = distribute(incoming, names, target, self.host, run["hosts"][0]["name"] == self.host)
        shutil.rmtree(fetched, ignore_errors=True)
        session.keep_host_state(key, self.host, state)
        # What is collected while it still runs must be collected again.
        complete = state["status"] == "ended"
        return self._note(session, key, None if complete else f"still {state['status']} there", placed)

    def _part(self, where: dict[str, Any], source: Path, part: dict[str, Any], target: Path) -> Path:
        """Fetches one part unless it is here already; returns its path. Raises BadArchive."""
        path = target / part["name"]
        for _ in range(ATTEMPTS):
            if digest(path) == part["sha256"]:
                return path
            content = part.get("content")
            if content is not None:
                write_bytes(path, base64.b64decode(content))
                continue
            target.mkdir(parents=True, exist_ok=True)
            if self._play_context.become:
                # Files of another user: only a module can read them.
                answer = self.call("deepep_pack", part=part["name"], **where)
                if answer.problem:
                    raise BadArchive(answer.problem)
                write_bytes(path, base64.b64decode(answer.values["content"]))
            else:
                self._fetch(source / part["name"], path)
        if digest(path) == part["sha256"]:
            return path
        raise BadArchive(f"{part['name']} arrived damaged {ATTEMPTS} times")

    def _fetch(self, source: Path, path: Path) -> None:
        try:
            self._connection.fetch_file(str(source), str(path))
        except AnsibleError as error:
            self._reset()
            raise BadArchive(f"{source.name} could not be fetched: {error}") from error

    def _note(
        self, session: Session, key: str, problem: str | None, placed: list[str] | None = None
    ) -> str | None:
        seen = {"complete": problem is None, "problem": problem}
        session.take_note(key, "collected-" + self.host, {**seen, "files": placed or [], "at": now_iso()})
        events.append(
            session.results_dir, "collect", run=key, host=self.host, **seen, files=len(placed or ())
        )
        return problem
