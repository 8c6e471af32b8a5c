"""Has the squashfs files of a plan's images made: one import job each, before any run is submitted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

import deepep_secrets
from ansible.module_utils.parsing.convert_bool import boolean
from deepep_host import events, secret_scan
from deepep_host.reference import parse
from deepep_host.session import Session
from deepep_slurm_controller import SlurmAction


class ActionModule(SlurmAction):
    """Runs whose image cannot be had are not started, and say why. Files that exist already are kept."""

    ARGUMENTS = frozenset({"session", "work_dir", "timeout_s", "cache"})

    def act(self) -> dict[str, Any]:
        if self.check_mode:
            return {"msg": "check mode: no image is imported"}
        session = self.session()
        wanted: dict[str, list[dict[str, Any]]] = {}
        for run in session.plan()["runs"]:
            own = run.get("slurm") or {}
            if session.skipped(run["id"]) or session.kept(run["id"]):
                continue
            if own.get("image_file") and not parse(run["image"]).file:
                wanted.setdefault(run["image"], []).append(run)
        problems = {image: self._import(session, image, runs) for image, runs in wanted.items()}
        for image, problem in problems.items():
            for run in wanted[image] if problem else ():
                session.skip(run["id"], f"its image could not be imported: {problem}")
        told = [problem for problem in problems.values() if problem]
        return {"changed": bool(wanted), "msg": "; ".join(told) or f"{len(wanted)} images are there"}

    def _import(self, session: Session, image: str, runs: list[dict[str, Any]]) -> str | None:
        """Returns None once the file is there, else why it is not."""
        slurm = self._slurm(session)
        try:
            login = deepep_secrets.login(parse(image).place, self._templar, self._vars)
        except deepep_secrets.CredentialsError as error:
            return str(error)
        if login.known and not self._is_pipelining_enabled("new"):
            return "credentials travel over standard input only: set ansible_pipelining: true"
        if login.known:
            # For the search for secrets at the end: who used which, never the secret.
            secret_scan.record_use(session.folder, parse(image).place, self.host)
        answer = self.ask(
            session, "import", reference=image, target=runs[0]["slurm"]["image_file"], login=login.to_json(),
            timeout_s=float(self.argument("timeout_s", 3600)), queue_limit_s=slurm["queue_limit_s"],
            options=list(runs[0]["slurm"]["job_options"]), keep=boolean(self.argument("cache", False)),
        )  # fmt: skip
        problem = answer.problem or answer.values.get("problem")
        events.append(session.results_dir, "image", host=self.host, image=image, problem=problem,
                      digest=answer.values.get("digest"))  # fmt: skip
        for run in runs:
            for host in run["hosts"] if not problem else ():
                entry = {"runtime": "enroot", "reference": image, "digest": answer.values.get("digest"),
                         "id": run["slurm"]["image_file"], "file": run["slurm"]["image_file"]}  # fmt: skip
                session.take_note(run["id"], "image-" + host["name"], entry)
        return str(problem) if problem else None
