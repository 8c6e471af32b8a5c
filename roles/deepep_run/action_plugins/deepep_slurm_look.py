"""Brings the newest states and log lines of jobs that are under way to the controller."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_host.files import host_name
from deepep_host.look import STREAMS
from deepep_host.session import Session
from deepep_slurm_controller import OVER, WAITS, SlurmAction


class ActionModule(SlurmAction):
    """Keeps them in the session's ``.state``, as the look at hosts over SSH does."""

    def act(self) -> dict[str, Any]:
        session = self.session()
        jobs = self.submitted(session)
        if not jobs:
            return {"msg": "no job is under way"}
        answer = self.ask(session, "watch", jobs={key: job["job_id"] for key, job in jobs.items()})
        self._keep_answer(session, jobs, answer.problem)
        if answer.problem:
            return {"msg": answer.problem, "problem": answer.problem}
        running = {}
        for key, found in answer.values["jobs"].items():
            self.observe(session, key, found)
            if found["phase"] not in (WAITS, OVER):
                running[key] = {"job": jobs[key]["job"], "have": self._have(session, key)}
        answer = self.ask(session, "look", runs=running)
        self._keep_answer(session, running, answer.problem)
        if answer.problem:
            return {"msg": answer.problem, "problem": answer.problem}
        for key, hosts in answer.values["runs"].items():
            for host, found in hosts.items():
                if found["state"] is not None:
                    session.keep_host_state(key, host, found["state"])
                for stream, text in found["logs"].items():
                    with self._path(session, key, host, stream).open("ab") as file:
                        file.write(base64.b64decode(text))
        return {"msg": f"looked at {', '.join(sorted(jobs))}"}

    def _keep_answer(self, session: Session, runs: Iterable[str], problem: str | None) -> None:
        """What the login host does not tell of its jobs, it does not tell of any of their hosts."""
        for host in {member["name"] for key in runs for member in session.run(key)["hosts"]}:
            session.keep_answer(host, problem)

    def _have(self, session: Session, key: str) -> dict[str, dict[str, int]]:
        hosts = [host["name"] for host in session.run(key)["hosts"]]
        return {
            host: {stream: _size(self._path(session, key, host, stream)) for stream in STREAMS}
            for host in hosts
        }

    def _path(self, session: Session, key: str, host: str, stream: str) -> Path:
        return session.note_path(key, "live-" + host_name(host)).with_suffix(f".{stream}.txt")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
