"""Removes what sessions left on a host: processes by their marks, files below the work directory."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import container, credentials, lease, processes
from .control import end_marked, observe, runs_below, stop_runs
from .files import SAFE_NAME
from .image.steps import busy
from .image.store import directory, sweep
from .lock import lock_path, remove_if_free
from .state import host_dir, run_dir

KEEP_DAYS = 14.0
"""How long what was not collected stays on a host, where nothing else is said."""

DAY_S = 24 * 3600.0

STAGED_S = 3600.0
"""A session that is staged and has started nothing yet may be about to."""


def clean(
    work_dir: Path,
    host: str,
    run_id: str,
    keep: Sequence[str],
    dry: bool,
    keep_s: float = 0.0,
    cache_dir: str = "",
) -> dict[str, Any]:
    """Cleans up after session ``run_id``, or after every session that is not in use where it is empty.

    Returns ``{"removed": [directories], "kept": [runs], "ended": [processes], "in_use": [sessions],
    "credentials": [directories], "expired": [texts]}``. With ``dry`` nothing is changed. Runs in ``keep``
    keep their files. So do those of other sessions until they are ``keep_s`` old: they were not collected,
    else they would be gone. Of image files that killed runs left half there, those in ``cache_dir`` go too.
    """
    done: dict[str, Any] = {
        "removed": [], "kept": [], "ended": [], "in_use": [], "credentials": [], "expired": []
    }  # fmt: skip
    boxes = container.leftovers(work_dir, host, run_id or None)
    for session in [run_id] if run_id else _sessions(work_dir, host):
        base = host_dir(work_dir, session, host)
        if not run_id and (_in_use(base) or (keep_s and _is_fresh(base))):
            done["in_use"].append(session)
            continue
        # Before anything is stopped: what is found now is what was left.
        marks = {"DEEPEP_RUN_ID": session, "DEEPEP_HOST": host}
        done["ended"] += [processes.describe(pid) for pid in processes.with_environment(marks)]
        if not dry:
            stop_runs(base, "", "the session is cleaned up")
            end_marked(session, host)
            lease.release(base)
        started = runs_below(base)
        if not run_id and started and age_s(base) < keep_s:
            done["kept"] += [f"{session}/{run}" for run in started]
            continue
        kept = sorted(set(keep) & set(started))
        done["kept"] += kept
        if base.is_dir():
            done["removed"].append(str(base))
        if not dry:
            _remove(work_dir, session, base, [run for run in started if run not in kept] if kept else None)
    # Also those of sessions whose directories are gone.
    mine = [box for box in boxes if box.run_id not in done["in_use"]]
    done["ended"] += [box.describe() for box in mine]
    # Of processes that are gone, whatever session they belonged to; and those of this one in any case.
    done["credentials"] = credentials.remove(run_id, dry)
    own = directory(work_dir, None)
    done["removed"] += sweep(own, dry)
    if directory(work_dir, cache_dir) != own:
        done["removed"] += sweep(Path(cache_dir), dry, shared=True)
    if run_id and keep_s:
        done["expired"] = expire(work_dir, host, keep_s, run_id, dry)
    if not dry:
        container.remove(mine)
        remove_empty(work_dir, host)
    return done


def expire(work_dir: Path, host: str, keep_s: float, current: str, dry: bool = False) -> list[str]:
    """Removes what other sessions than ``current`` left on a host longer than ``keep_s`` ago.

    Never one that is in use. Returns a text for each, with what is lost by it.
    """
    removed = []
    for session in _sessions(work_dir, host):
        base = host_dir(work_dir, session, host)
        age = age_s(base)
        if session == current or age < keep_s or _in_use(base):
            continue
        runs = runs_below(base)
        lost = f", with what was never collected of {', '.join(runs)}" if runs else ""
        removed.append(f"{base}: {age / DAY_S:.0f} days old{lost}")
        if not dry:
            end_marked(session, host)
            _remove(work_dir, session, base, None)
    return removed


def age_s(base: Path) -> float:
    """Returns how long ago anything happened in a session's directory on a host, in s."""
    times = []
    for path in (base, base / "plan.json", *(run_dir(base, run) / "state.json" for run in runs_below(base))):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return time.time() - max(times, default=time.time())


def _is_fresh(base: Path) -> bool:
    return not runs_below(base) and age_s(base) < STAGED_S


def _sessions(work_dir: Path, host: str) -> list[str]:
    names = sorted(path.name for path in work_dir.iterdir()) if work_dir.is_dir() else []
    return [name for name in names if SAFE_NAME.match(name) and (work_dir / name / host).is_dir()]


def _in_use(base: Path) -> bool:
    # Between two runs, and while it collects, the lease is all that says so.
    return _runs(base) or busy(base) or lease.counts(base)


def _runs(base: Path) -> bool:
    states = [observe(run_dir(base, run)) for run in runs_below(base)]
    return any(state is not None and state["status"] != "ended" for state in states)


def _remove(work_dir: Path, session: str, base: Path, runs: list[str] | None) -> None:
    if runs is None:
        shutil.rmtree(base, ignore_errors=True)
    else:
        for run in runs:
            shutil.rmtree(run_dir(base, run), ignore_errors=True)
        for name in ("program", "enroot", "parts"):
            shutil.rmtree(base / name, ignore_errors=True)
    _rmdir(work_dir / session)


def remove_empty(work_dir: Path, host: str) -> None:
    """Removes directories of all sessions that hold nothing any more, and the host's lock if it is free."""
    if remove_if_free(lock_path(work_dir, host)):
        _rmdir(work_dir / "locks")
    _rmdir(work_dir / "images")
    # Compiled kernels stay for the next session; what holds none goes.
    for of_image in sorted((work_dir / "jit").glob("*")):
        _rmdir(of_image)
    _rmdir(work_dir / "jit")
    _rmdir(work_dir)


def _rmdir(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        # Not empty, or never there: other sessions or hosts share it.
        return
