"""What sessions left of their jobs: on hosts' own disks after a job was killed, and on the login host.

A session is left over once Slurm knows none of its jobs as under way any more and nothing of it has changed
for a while; until then its own controller may still come for it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..files import below, read_json
from ..state import run_dir
from . import query
from .command import SlurmError
from .states import OVER, phase_of

JOBS = "slurm-jobs"
"""Directory of a session on a compute host's own disk: an empty file for every job that was there."""

QUIET_S = 3600.0
"""How long nothing may have changed before another session's job removes it from a compute host."""


def note_job(base: Path) -> None:
    """Notes on this host that the job which it is part of has files in the session's directory ``base``."""
    job = os.environ.get("SLURM_JOB_ID")
    if job:
        (base / JOBS).mkdir(parents=True, exist_ok=True)
        (base / JOBS / job).touch()


def forget(base: Path, runs: Sequence[str]) -> None:
    """Removes runs from this host's own disk, and the session with the last of them."""
    for run in runs:
        for host in hosts_below(base):
            shutil.rmtree(run_dir(host, run), ignore_errors=True)
    if not any(path.is_file() for host in hosts_below(base) for path in below(host / "runs")):
        shutil.rmtree(base, ignore_errors=True)


def hosts_below(base: Path) -> list[Path]:
    """Returns the directories of the hosts that have runs of a session."""
    return sorted(path for path in base.iterdir() if (path / "runs").is_dir()) if base.is_dir() else []


def sweep_host(work_dir: Path, own: Path) -> list[Path]:
    """Removes what jobs of other sessions than ``own`` left on this compute host, and returns it."""
    found = [
        (base, sorted(path.name for path in (base / JOBS).iterdir()))
        for base in _directories(work_dir)
        if base != own and (base / JOBS).is_dir()
    ]
    return _remove(found, QUIET_S)


def sweep_login(root: Path, own: Path, keep_s: float) -> list[Path]:
    """Removes what other sessions than ``own`` left on the login host and nobody collected in time."""
    found = []
    for base in _directories(root):
        notes = [read_json(path) or {} for path in base.glob("*/jobs/**/submitted.json")]
        if base != own and notes:
            found.append((base, [str(note["job_id"]) for note in notes if "job_id" in note]))
    return _remove(found, keep_s)


def _directories(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _remove(found: Iterable[tuple[Path, list[str]]], quiet_s: float) -> list[Path]:
    quiet = [(base, jobs) for base, jobs in found if _age_s(base) >= quiet_s]
    try:
        known = query.queue(sorted({job for _, jobs in quiet for job in jobs}), 0.0)
    except SlurmError:
        # Nobody can tell now what still runs: the next one removes it.
        return []
    under_way = {job for job, seen in known.items() if phase_of(seen.state) != OVER}
    removed = [base for base, jobs in quiet if not under_way & set(jobs)]
    for base in removed:
        shutil.rmtree(base, ignore_errors=True)
    return removed


def _age_s(base: Path) -> float:
    newest = base.stat().st_mtime
    for path in below(base):
        try:
            newest = max(newest, path.lstat().st_mtime)
        except OSError:
            continue
    return time.time() - newest
