"""Where things are on a host, and the state file in which a supervisor says how its run stands.

``<work_dir>/<run_id>/<host>/`` holds ``program/``, ``plan.json`` (this host's slice) and ``runs/<run>/``.
The host is part of the path since hosts may share a disk (an NFS home, two hosts on one machine).
"""

from __future__ import annotations

import getpass
import os
import pwd
import stat
from pathlib import Path
from typing import Any

from .files import SAFE_NAME, host_name, now_iso, read_json, run_path, write_json
from .processes import Identity

SCHEMA = 1

COMPILING = "compile"
"""The program's phase in which kernels are compiled that the host keeps: the time limit does not count it."""

COMPILE_S = 300.0
"""How long compiling may go on without being counted."""

STILL_RUNNING = "still running"
"""How the cause of a time limit begins, where nothing else is known."""

AT_THE_LIMIT = "the time limit was reached on"
"""How the cause of a stop begins where another host was a moment ahead at the limit; its name follows."""


class WorkDirError(Exception):
    """The work directory cannot be used; the text says why and what to do."""


class OtherUserError(WorkDirError):
    """What was staged here is another user's."""


def default_work_dir() -> Path:
    """Returns ``/var/tmp/deepep-<user>`` for the user that runs this."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return Path("/var/tmp") / f"deepep-{user}"  # noqa: S108 - ensure_work_dir checks its owner


def resolve_work_dir(configured: str | None) -> Path:
    """Returns the absolute work directory; an empty setting means the default."""
    return Path.cwd() / Path(configured).expanduser() if configured else default_work_dir()


def ensure_work_dir(path: Path) -> None:
    """Creates the work directory for this user alone.

    Raises WorkDirError where it is a link, no directory, or another user's: what is below gets executed.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise WorkDirError(
            f"cannot create work directory {path}: {error.strerror}; set deepep_work_dir"
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise WorkDirError(
            f"work directory {path} is a link or no directory; set deepep_work_dir to another path"
        )
    if found.st_uid != os.geteuid():
        raise WorkDirError(f"work directory {path} belongs to uid {found.st_uid}, not to uid {os.geteuid()}")
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o700)


def refuse_foreign(work_dir: Path) -> None:
    """Raises OtherUserError where a work directory is another user's: so is what runs from it.

    Whoever looks as the wrong user must neither take a run for gone nor end it.
    """
    try:
        owner = work_dir.lstat().st_uid
    except FileNotFoundError:
        return
    except OSError as error:
        raise OtherUserError(
            f"user {_user_name(os.geteuid())} may not look at {work_dir} ({error.strerror}): connect as the "
            "user who started the session (--user, --become, --become-user)"
        ) from error
    if owner != os.geteuid():
        raise OtherUserError(
            f"{work_dir} is of user {_user_name(owner)}, and this is {_user_name(os.geteuid())}: connect as "
            "the user who started the session (--user, --become, --become-user)"
        )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def host_dir(work_dir: Path, run_id: str, host: str) -> Path:
    """Returns the directory of one session on one host."""
    if not SAFE_NAME.match(run_id):
        raise ValueError(f"{run_id!r} is not the id of a session")
    return work_dir / run_id / host_name(host)


def run_dir(base: Path, run: str) -> Path:
    """Returns the directory of one run below a host directory."""
    return run_path(base / "runs", run)


def state_path(folder: Path) -> Path:
    """Returns the state file of a run directory."""
    return folder / "state.json"


def read_state(folder: Path) -> dict[str, Any] | None:
    """Returns the state of a run, or None where no supervisor was ever started."""
    return read_json(state_path(folder))


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Replaces the state of a run."""
    write_json(state_path(folder), state)


def new_state(run_id: str, run: str, host: str) -> dict[str, Any]:
    """Returns the state of a run whose supervisor is just starting."""
    return {
        "schema": SCHEMA,
        "run_id": run_id,
        "run": run,
        "host": host,
        "status": "starting",
        "phase": None,
        "progress": None,
        "pid": None,
        "start_ticks": None,
        "guardian": None,
        "boot_id": None,
        "program_pid": None,
        "container": None,
        "started_at": now_iso(),
        "deadline_at": None,
        "compile_s": None,
        "ended_at": None,
        "elapsed_s": None,
        "outcome": None,
        "exit_code": None,
        "cause": None,
        "first_failure_at": None,
        "still": [],
        "leftovers": [],
        "stacks": None,
    }


def planned_stop(other: str) -> str:
    """Returns the cause of a stop that the plan asks for: the run that this one accompanies has ended."""
    return f"ends with {other}"


def ended(
    state: dict[str, Any], outcome: str, cause: str | None, exit_code: int | None = None
) -> dict[str, Any]:
    """Returns a copy of ``state`` that has ended. The first failure is now unless one is known already."""
    failed = outcome != "exited" or exit_code != 0
    now = now_iso()
    return {
        **state,
        "status": "ended",
        "ended_at": now,
        "outcome": outcome,
        "exit_code": exit_code,
        "cause": cause,
        # What was stopped because of others, or on request, did not fail by itself.
        "first_failure_at": state.get("first_failure_at")
        or (now if failed and outcome != "stopped" else None),
    }


def supervisor_of(state: dict[str, Any]) -> Identity | None:
    """Returns the supervisor's identity, or None before it has one."""
    return _identity(state, "pid", "start_ticks")


def guardian_of(state: dict[str, Any]) -> Identity | None:
    """Returns the identity of the supervisor's parent, which outlives it."""
    guardian = state.get("guardian")
    if not isinstance(guardian, dict):
        return None
    return _identity({**guardian, "boot_id": state.get("boot_id")}, "pid", "start_ticks")


def _identity(source: dict[str, Any], pid: str, ticks: str) -> Identity | None:
    if source.get(pid) is None or source.get(ticks) is None or source.get("boot_id") is None:
        return None
    return Identity(int(source[pid]), int(source[ticks]), str(source["boot_id"]))
