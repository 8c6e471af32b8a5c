"""The host lock: runs of one session may share a host, two sessions never do."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from .files import host_name, now_iso, open_lock


class HostInUse(Exception):
    """Another session holds this host."""


def lock_path(work_dir: Path, host: str) -> Path:
    """Returns the lock file of an inventory host."""
    return work_dir / "locks" / (host_name(host) + ".lock")


def _try(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _holder(handle: int) -> dict[str, str]:
    try:
        value = json.loads(os.pread(handle, 4096, 0).decode("utf-8", "replace"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def acquire(path: Path, run_id: str) -> int:
    """Returns a file descriptor that holds the lock for session ``run_id`` until it is closed.

    The first run of a session writes the session's id under an exclusive lock, then shares it: further runs
    of that session join. Raises HostInUse when another session is there.
    """
    while True:
        handle = open_lock(path)
        if _try(handle, fcntl.LOCK_EX):
            if _is_current(handle, path):
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps({"run_id": run_id, "since": now_iso()}).encode(), 0)
                fcntl.flock(handle, fcntl.LOCK_SH)
                return handle
        elif _try(handle, fcntl.LOCK_SH):
            try:
                _check_holder(handle, run_id)
            except HostInUse:
                os.close(handle)
                raise
            return handle
        os.close(handle)


def refuse_if_in_use(path: Path, run_id: str) -> None:
    """Raises HostInUse where another session than ``run_id`` runs something on this host."""
    if not path.exists():
        return
    handle = open_lock(path)
    try:
        if not _try(handle, fcntl.LOCK_EX):
            _check_holder(handle, run_id)
    finally:
        os.close(handle)


def _check_holder(handle: int, run_id: str) -> None:
    holder = _holder(handle)
    if holder.get("run_id") != run_id:
        raise HostInUse(
            f"this host is in use by session {holder.get('run_id', 'unknown')} since "
            f"{holder.get('since', 'unknown')}: wait for its end, or stop it"
        )


def remove_if_free(path: Path) -> bool:
    """Removes a lock file that nobody holds; returns whether it is gone."""
    if not path.exists():
        return True
    handle = open_lock(path)
    try:
        if not _try(handle, fcntl.LOCK_EX):
            return False
        if _is_current(handle, path):
            path.unlink()
        return True
    finally:
        os.close(handle)


def _is_current(handle: int, path: Path) -> bool:
    # Whoever removed the file while we waited for it holds a lock that nobody else can see.
    try:
        now: os.stat_result | None = path.stat()
    except FileNotFoundError:
        now = None
    mine = os.fstat(handle)
    return now is not None and (now.st_ino, now.st_dev) == (mine.st_ino, mine.st_dev)
