"""What the login host does for the controller, by name: the module ``deepep_slurm`` is nothing but this."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import images
from ..files import read_json, safe_relative
from ..look import CHUNK, STREAMS
from ..packing import pack_parts
from ..stage import stage
from ..state import default_work_dir, ensure_work_dir, read_state, resolve_work_dir, run_dir
from . import jobs, leftovers
from .command import ask, call
from .fetch import fetch, let_go, offers, words
from .jobs import Place, user_name

NEEDED = ("sbatch", "squeue", "scontrol", "scancel", "srun")


class Service:
    """One request. ``shared_dir`` is "" where login and compute hosts share no directory."""

    def __init__(self, run_id: str, login: str, shared_dir: str, work_dir: str) -> None:
        self._shared = bool(shared_dir)
        self._work_dir = work_dir or str(default_work_dir())
        root = Path(shared_dir) / f"deepep-{user_name()}" if shared_dir else resolve_work_dir(work_dir)
        self._place = Place(root, run_id, login)

    def serve(self, do: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Carries out ``do`` and returns its answer. Raises SlurmError, OSError, ValueError."""
        known: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "stage": self._stage,
            "submit": self._submit,
            "recorded": self._recorded,
            "watch": self._watch,
            "cancel": self._cancel,
            "fetch": self._fetch,
            "parts": self._parts,
            "release": self._release,
            "look": self._look,
            "import": self._import,
            "clean": self._clean,
        }
        return known[do](given)

    def _stage(self, given: Mapping[str, Any]) -> dict[str, Any]:
        missing = [name for name in NEEDED if shutil.which(name) is None]
        if missing:
            raise OSError(f"the login host has no {', '.join(missing)}: name another deepep_slurm_login")
        version = ask(["sinfo", "--version"], 10.0).strip()
        ensure_work_dir(self._place.root)
        expired = self._expire(given)
        changed = stage(
            str(self._place.root), self._place.run_id, self._place.login, "", given["archive"],
            given["sha256"], given["plan"], {},
        )  # fmt: skip
        return {"changed": changed, "version": version, "expired": expired}

    def _expire(self, given: Mapping[str, Any]) -> list[str]:
        found = leftovers.sweep_login(self._place.root, self._place.base, float(given["keep_s"]))
        return [str(base) for base in found]

    def _submit(self, given: Mapping[str, Any]) -> dict[str, Any]:
        done = jobs.submit(
            self._place, given["orders"], self._shared, self._work_dir, float(given["patience_s"])
        )
        return {"changed": True, "jobs": done}

    def _recorded(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"jobs": jobs.recorded(self._place, given["runs"])}

    def _watch(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "jobs": jobs.watch(
                self._place,
                given["jobs"],
                given.get("seen") or {},
                float(given.get("wait_s", 0)),
                float(given.get("poll_s", 5)),
                float(given.get("patience_s", 0)),
                self._shared,
            )
        }

    def _cancel(self, given: Mapping[str, Any]) -> dict[str, Any]:
        states = jobs.cancel(
            given["jobs"], float(given["wait_s"]), float(given["poll_s"]), float(given["patience_s"])
        )
        return {"changed": bool(states), "states": states}

    def _fetch(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Brings a run's files here, where hosts share no directory with it, and says what there is.

        ``ask``: the hosts of a job that still exists; ``options``: srun's, to ask those of one that is over.
        """
        run, job = str(given["run"]), str(given["job"])
        problem = None
        record = read_json(self._place.job(job) / "submitted.json") or {}
        if not self._shared and record:
            problem = f"job {record['job_id']} is over, and its hosts were not asked"
            if given["ask"] or given["options"] is not None:
                problem = fetch(self._place, run, record, options=given["options"])
        found = offers(self._place, run, int(given["limit_bytes"]), int(given["inline_bytes"]))
        return {"changed": True, "problem": problem, "hosts": found, "words": words(self._place, job)}

    def _parts(self, given: Mapping[str, Any]) -> dict[str, Any]:
        base = self._place.base / safe_relative(str(given["host"]))
        return pack_parts(
            base, str(given["run"]), int(given["limit_bytes"]), str(given["index"]), given["parts"],
            bool(given["inline"]),
        )  # fmt: skip

    def _release(self, given: Mapping[str, Any]) -> dict[str, Any]:
        let_go(self._place, str(given["job"]))
        return {"changed": True}

    def _look(self, given: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for run, wanted in given["runs"].items():
            record = read_json(self._place.job(str(wanted["job"])) / "submitted.json") or {}
            if not self._shared and record:
                fetch(self._place, run, record, "look")
            found[run] = {host: self._look_at(host, run, have) for host, have in wanted["have"].items()}
        return {"runs": found}

    def _look_at(self, host: str, run: str, have: Mapping[str, int]) -> dict[str, Any]:
        folder = run_dir(self._place.base / host, run)
        logs = {}
        for stream in STREAMS:
            try:
                with (folder / "logs" / f"{stream}.txt").open("rb") as file:
                    file.seek(int(have.get(stream, 0)))
                    logs[stream] = base64.b64encode(file.read(CHUNK)).decode("ascii")
            except FileNotFoundError:
                logs[stream] = ""
        return {"state": read_state(folder), "logs": logs}

    def _import(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Has one compute host make an image's squashfs file, the credentials on its standard input."""
        python = str((read_json(self._place.own / "plan.json") or {})["slurm"]["host_python"])
        told = {name: given[name] for name in ("reference", "target", "login", "timeout_s", "keep")}
        done = call(
            ["srun", "--nodes=1", "--ntasks=1", "--job-name=deepep-import", "--mpi=none", *given["options"],
             python, "-I", str(self._place.own / "program" / "slurm_task.py"), "import",
             f"--base={self._place.base}", f"--session={self._place.run_id}"],
            json.dumps(told).encode(), float(given["timeout_s"]) + float(given["queue_limit_s"]),
        )  # fmt: skip
        try:
            answer: dict[str, Any] = json.loads(done.out.strip().splitlines()[-1])
        except (IndexError, ValueError):
            answer = {"problem": f"srun: {done.message}"}
        if "digest" in answer:
            entry = {"runtime": "enroot", "id": given["target"], "digest": answer["digest"],
                     "file": given["target"]}  # fmt: skip
            images.put(self._place.own, given["reference"], entry)
        return {"changed": "digest" in answer, **answer}

    def _clean(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Removes the session's files here, unless a run's are still needed; ``keep`` lists those."""
        removed = self._expire(given)
        if self._place.run_id and self._place.base.is_dir() and not given.get("keep"):
            shutil.rmtree(self._place.base, ignore_errors=True)
            removed.append(str(self._place.base))
        for path in (self._place.root / "locks", self._place.root):
            try:
                path.rmdir()
            except OSError:
                continue
        return {"changed": bool(removed), "removed": removed, "kept": list(given.get("keep") or ())}


def serve(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the answer to the module's parameters."""
    service = Service(
        parameters["run_id"], parameters["login"], parameters["shared_dir"], parameters["work_dir"]
    )
    return service.serve(parameters["do"], json.loads(parameters["given"]))
