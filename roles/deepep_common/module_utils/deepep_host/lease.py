"""The lease of a host: one session at a time, from its staging to its cleanup, whoever's it is.

Each session has a file of its own in a directory that all users of the machine share, as in ``/tmp``: nobody
can remove another's. It counts while the session gives signs of life: its controller has asked this host for
something within ``STALE_S``, or a process of it holds the file (a lock, which ends with the process). Whoever
takes or gives back a lease locks the directory meanwhile, so that of two that come at once one is first.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import processes
from .files import host_name, now_iso, read_json, write_json
from .lock import HostInUse

DIRECTORY = Path("/var/tmp/deepep-leases")  # noqa: S108 - made sticky; what others write there is only shown
STALE_S = 300.0
"""How long a session keeps a host without a sign of life."""

BOTH_BEGIN_S = 60.0
PATIENCE_S = 20.0
"""Of two sessions that begin at once, each may get some of the hosts. The later one then gives up, and the
earlier one waits so long for what that gives back."""

LOCK_S = 30.0
"""How long the directory may be locked by others."""

_NOTE = "lease.json"
_SHOWN = 200


def take(
    directory: Path,
    base: Path,
    run_id: str,
    host: str,
    mine: Sequence[str],
    who: Mapping[str, str],
    patience_s: float = PATIENCE_S,
) -> None:
    """Takes this host for session ``run_id``, which is staged at ``base``, or renews what it has.

    ``mine``: all run ids of the session; earlier ones' leases are its own. ``who`` has ``started_by`` and
    ``results``, for people. Raises HostInUse with the other session, OSError where no lease can be kept.
    """
    path = directory / f"{run_id}.{host_name(host)}.json"
    end = time.monotonic() + patience_s
    while True:
        with _alone(directory):
            other = _other(directory, {run_id, *mine})
            if other is None:
                _write(path, {"run_id": run_id, "host": host, **who})
                _sweep(directory, {*mine} - {run_id})
                break
        begun_s = abs(time.time() - float(other["began"]))
        if run_id > other["run_id"] or begun_s > BOTH_BEGIN_S or time.monotonic() >= end:
            raise HostInUse(_text(other))
        time.sleep(0.5)
    note = {"path": str(path), "run_id": run_id, "host": host, "mine": list(mine), "who": dict(who)}
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(base / _NOTE, note, mode=0o600)


def retake(base: Path) -> None:
    """Renews a session's lease, or takes the host again where it was idle for too long.

    Nothing where the session has no lease: Slurm gives its jobs their hosts. Raises HostInUse, OSError.
    """
    note = read_json(base / _NOTE)
    if note is not None:
        directory = Path(note["path"]).parent
        take(directory, base, note["run_id"], note["host"], note["mine"], note["who"], patience_s=0.0)


def renew(base: Path) -> None:
    """Gives a sign of life."""
    path = _path(base)
    if path is not None:
        with contextlib.suppress(OSError):
            os.utime(path)


def hold(base: Path) -> int | None:
    """Keeps the lease alive until the file descriptor that is returned is closed, or this process ends."""
    path = _path(base)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path else None
    except OSError:
        return None
    if handle is not None:
        fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


@contextlib.contextmanager
def held(base: Path) -> Iterator[None]:
    """Keeps the lease alive while this process does something that may take long."""
    handle = hold(base)
    try:
        yield
    finally:
        renew(base)
        if handle is not None:
            os.close(handle)


def counts(base: Path) -> bool:
    """Returns whether a session still has this host: it may collect, or be between two runs."""
    path = _path(base)
    return path is not None and _quiet_s(path) is not None


def release(base: Path) -> None:
    """Gives the host back. What cannot be removed now is worth nothing after ``STALE_S``."""
    path = _path(base)
    if path is None or not path.exists():
        return
    with contextlib.suppress(OSError), _alone(path.parent):
        path.unlink()
        _sweep(path.parent, set())
        path.parent.rmdir()


def _path(base: Path) -> Path | None:
    note = read_json(base / _NOTE)
    return Path(note["path"]) if note else None


def _write(path: Path, lease: Mapping[str, Any]) -> None:
    # A process may hold it: the file stays the same.
    if path.exists():
        os.utime(path)
        return
    write_json(
        path, {**lease, "since": now_iso(), "began": time.time(), "boot_id": processes.boot_id()}, mode=0o644
    )


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Locks the directory, which is made where there is none. Raises OSError where it cannot be shared."""
    end = time.monotonic() + LOCK_S
    while True:
        _make(directory)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if _locked(handle, directory):
                yield
                return
        finally:
            os.close(handle)
        if time.monotonic() > end:
            raise TimeoutError(f"{directory}, where sessions note which host they hold, is locked by others")
        time.sleep(0.05)


def _make(directory: Path) -> None:
    if directory.exists():
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    mask = os.umask(0)
    try:
        directory.mkdir(mode=0o1777, exist_ok=True)
    finally:
        os.umask(mask)


def _locked(handle: int, directory: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        now = directory.stat()
    except OSError:
        return False
    # Whoever was here before may have removed it.
    mine = os.fstat(handle)
    return (now.st_ino, now.st_dev) == (mine.st_ino, mine.st_dev)


def _other(directory: Path, mine: set[str]) -> dict[str, Any] | None:
    """Returns another session's lease that is worth something, with ``quiet_s``."""
    for path in sorted(directory.glob("[!.]*.json")):
        run_id = path.name.split(".")[0]
        quiet_s = None if run_id in mine else _quiet_s(path)
        if quiet_s is not None:
            return {"began": 0.0, **(read_json(path) or {}), "run_id": run_id, "quiet_s": quiet_s}
    return None


def _quiet_s(path: Path) -> float | None:
    """Returns the s since a sign of life, 0 while a process of the session lives; None for a dead one."""
    lease = read_json(path)
    if lease is not None and lease.get("boot_id") != processes.boot_id():
        return None
    try:
        # A clock that was set back must not make it last.
        quiet_s = abs(time.time() - path.stat().st_mtime)
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return 0.0
    finally:
        os.close(handle)
    return quiet_s if quiet_s < STALE_S else None


def _sweep(directory: Path, own: set[str]) -> None:
    """Removes leases that are worth nothing, and those of ``own``, as far as this user may."""
    for path in sorted(directory.glob("[!.]*.json")):
        if path.name.split(".")[0] in own or _quiet_s(path) is None:
            with contextlib.suppress(OSError):
                path.unlink()


def _text(other: Mapping[str, Any]) -> str:
    told = {name: _plain(other.get(name)) for name in ("run_id", "started_by", "results", "since")}
    text = (
        f"this host is in use by session {told['run_id']} of {told['started_by']} since {told['since']}, "
        f"results in {told['results']}: wait for its end, or stop it"
    )
    if other["quiet_s"] > BOTH_BEGIN_S:
        quiet = f"its controller was last heard of {other['quiet_s']:.0f} s ago"
        text += f" ({quiet}; after {STALE_S:.0f} s the host is free)"
    return text


def _plain(value: object) -> str:
    """Returns what another user wrote, as it may be shown."""
    return "".join(letter for letter in str(value or "unknown") if letter.isprintable())[:_SHOWN]
