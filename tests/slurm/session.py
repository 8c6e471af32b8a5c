"""Scenarios of jobs that a stand-in program makes behave as a test wants, and what became of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compiler.maintenance.slurm import FAULTS
from tests.cluster.slurm import SlurmLab, stand_in
from tests.e2e.conftest import COMPILER, TEST


def write_scenario(folder: Path, entries: Mapping[str, tuple[str, str]], name: str = "jobs") -> Path:
    """Writes a scenario: id -> (what the stand-in does, further lines of the entry)."""
    tests = folder / "tests"
    tests.mkdir(exist_ok=True)
    text = TEST.format(name="small", mode="standard", iterations=3)
    (tests / "small.toml").write_text(text, encoding="utf-8")
    body = [f'name = "{name}"\n']
    for key, (action, lines) in entries.items():
        body.append(f'[[Tests]]\nid = "{key}"\ntest_name = "small"\n{lines}\n')
        if action:
            body.append(f"  [Tests.extra_env_vars]\n  STAND_IN = {json.dumps(action)}\n")
    path = folder / "scenario.toml"
    path.write_text("\n".join(body), encoding="utf-8")
    return path


class Run:
    """``deepep-compiler run`` on the lab's controller."""

    def __init__(
        self,
        slurm: SlurmLab,
        folder: Path,
        scenario: Path,
        of_host: Any = None,
        inventory: Path | None = None,
        **variables: Any,
    ) -> None:
        self.slurm = slurm
        self.results = folder / "results"
        variables.setdefault("deepep_python", str(stand_in(slurm.shared)))
        self.inventory = inventory or slurm.inventory(folder / "hosts.yml", of_host, **variables)
        self.process: subprocess.Popen[str] = slurm.lab.controller.popen(
            COMPILER, "run", scenario, "--inventory", self.inventory, "--results-dir", self.results,
            "-o", folder / "bundle",
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def finish(self) -> str:
        """Waits for the end and returns what was printed."""
        out, _ = self.process.communicate(timeout=900)
        return str(out)

    @property
    def session(self) -> Path:
        """The session's directory."""
        (found,) = self.results.iterdir()
        return found

    def verdict(self, run: str) -> dict[str, Any]:
        """The verdict of a run."""
        found: dict[str, Any] = json.loads((self.session / run / "verdict.json").read_text())
        return found

    def said(self, run: str) -> str:
        """The verdict's word and the texts of its reasons."""
        found = self.verdict(run)
        return "\n".join([found["verdict"], *(reason["text"] for reason in found["reasons"])])

    def job(self, run: str) -> dict[str, Any]:
        """``slurm-job.toml`` of a run."""
        return tomllib.loads((self.session / run / "slurm-job.toml").read_text())

    def tell(self, fault: str, run: str) -> None:
        """Checks, or with DEEPEP_UPDATE_FAULTS writes, the row of docs/slurm-states.md about a fault."""
        verdict = self.verdict(run)
        reasons = verdict["reasons"] or [{"text": ""}]
        path = self.session / run / "slurm-job.toml"
        state = str(self.job(run)["state"]) if path.is_file() else "refused"
        text = re.sub(r"\b(job|STEP) [\d.]+", r"\1 N", reasons[0]["text"]).replace("|", "/")
        text = re.sub(r" AT [\d:T-]+", "", text)
        row = {"slurm": state, "verdict": verdict["verdict"], "reason": text}
        known: dict[str, dict[str, str]] = json.loads(FAULTS.read_text(encoding="utf-8"))
        if os.environ.get("DEEPEP_UPDATE_FAULTS"):
            known[fault] = row
            FAULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        told = known.get(fault, {})
        assert (told.get("slurm"), told.get("verdict")) == (state, row["verdict"]), (fault, row)

    def job_id(self, run: str) -> str:
        """The recorded id of a run's job; waits until there is one."""
        note = Path("/nonexistent")

        def known() -> bool:
            nonlocal note
            for folder in self.results.glob("*"):
                note = folder / ".state" / "runs" / run / "slurm.json"
            return note.is_file()

        self.slurm.until(known, f"the job of {run}", 300)
        return str(json.loads(note.read_text())["job_id"])

    def until_program(self, run: str, *hosts: str) -> str:
        """Waits until the run's program lives on these hosts; returns the job's id."""
        job = self.until_running(run)
        for host in hosts:
            self.slurm.until(lambda host=host: self._status(run, host) == "running", f"{run} on {host}", 300)  # type: ignore[misc]
        return job

    def _status(self, run: str, host: str) -> str:
        for path in self.slurm.shared.glob(f"deepep-*/*/{host}/runs/{run}/state.json"):
            return str(json.loads(path.read_text())["status"])
        return ""

    def state_of(self, run: str) -> str:
        """What squeue says of a run's job now."""
        job = self.job_id(run)
        found = [line for line in self.slurm.jobs("all") if line[0] == job]
        return found[0][1] if found else ""

    def until_running(self, run: str) -> str:
        """Waits until the run's program was started; returns the job's id."""
        job = self.job_id(run)
        self.slurm.until(
            lambda: any(line[0] == job and line[3].startswith("deepep run") for line in self.slurm.jobs()),
            f"{run} running", 300,
        )  # fmt: skip
        return job
