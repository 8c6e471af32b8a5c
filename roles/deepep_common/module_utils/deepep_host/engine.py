"""docker and podman as far as a run needs them: create, look, find by label, remove; never by name."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .launch import LaunchError

ENGINES = ("docker", "podman")
"""Runtimes whose containers outlive the process that started them; enroot's are plain processes."""

CALL_S = 60.0
"""How long one call may take; creating a container unpacks nothing."""


class ContainerError(LaunchError):
    """A container cannot be made, started or removed; the text says why and what to do."""


class Done(NamedTuple):
    """One call of a client: exit status and what it wrote."""

    status: int
    out: str
    err: str


class Found(NamedTuple):
    """A container of ours, with the labels that say whose it is."""

    runtime: str
    id: str
    run_id: str
    host: str
    run: str

    def describe(self) -> str:
        """Returns one line for a record."""
        return f"{self.runtime} container {self.id[:12]} of session {self.run_id}, run {self.run}"


def call(
    argv: Sequence[str],
    env: Mapping[str, str] | None = None,
    timeout_s: float = CALL_S,
    poll: Callable[[], None] | None = None,
) -> Done:
    """Runs a client to its end. ``poll`` is called meanwhile and may raise, which ends the client.

    Raises ContainerError where the client does not exist or takes too long.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - our own argv, no shell
            list(argv),
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise ContainerError(f"{argv[0]} is not installed on this host, or not in the search path") from None
    except OSError as error:
        raise ContainerError(f"cannot run {argv[0]}: {error.strerror}") from error
    end = time.monotonic() + timeout_s
    try:
        while True:
            try:
                out, err = process.communicate(timeout=0.25)
            except subprocess.TimeoutExpired:
                if poll:
                    poll()
                if time.monotonic() > end:
                    shown = " ".join(argv[:2])
                    raise ContainerError(f"{shown} did not answer within {timeout_s:.0f} s") from None
                continue
            return Done(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
    except BaseException:
        _kill(process)
        raise


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
    process.wait()


def last_line(text: str) -> str:
    """Returns the last line that says something, at most 600 characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:600] if lines else ""


def inspect(runtime: str, ids: Sequence[str], timeout_s: float = CALL_S) -> list[dict[str, Any]]:
    """Returns what the engine knows of containers; those that are gone are left out."""
    if not ids:
        return []
    done = call([runtime, "container", "inspect", *ids], timeout_s=timeout_s)
    try:
        found = json.loads(done.out)
    except ValueError:
        return []
    return [entry for entry in found if isinstance(entry, dict)]


def find(runtime: str, labels: Mapping[str, str]) -> list[Found]:
    """Returns the containers, running or not, that carry all of ``labels``. Raises ContainerError."""
    filters = [word for name, value in labels.items() for word in ("--filter", f"label={name}={value}")]
    done = call([runtime, "ps", "--all", "--quiet", "--no-trunc", *filters])
    if done.status:
        raise ContainerError(f"{runtime} cannot list its containers: {last_line(done.err)}")
    found = []
    for entry in inspect(runtime, done.out.split()):
        has = (entry.get("Config") or {}).get("Labels") or {}
        # The engines' filters compare texts; a value with '=' or a comma is compared here once more.
        if all(has.get(name) == value for name, value in labels.items()):
            own = (str(has.get(f"deepep.{name}", "")) for name in ("run_id", "host", "run"))
            found.append(Found(runtime, str(entry["Id"]), *own))
    return found


def remove(runtime: str, ids: Sequence[str]) -> None:
    """Ends and removes containers by their ids; those that are gone already are fine.

    Raises ContainerError naming what could not be removed.
    """
    for container in ids:
        done = call([runtime, "rm", "--force", "--volumes", container], timeout_s=30.0)
        gone = not done.status or "no such container" in done.err.lower()
        if not gone and inspect(runtime, [container]):
            raise ContainerError(f"{runtime} cannot remove container {container[:12]}: {last_line(done.err)}")


def installed() -> list[str]:
    """Returns the engines whose client is on this host."""
    return [runtime for runtime in ENGINES if shutil.which(runtime)]


def shared_helpers() -> frozenset[int]:
    """Returns the processes that rootless podman keeps for all containers of this user: never ours to end.

    The first call after a login leaves one behind, which then is a child of whoever made that call.
    """
    user = os.getuid()
    homes = (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{user}", f"/tmp/podman-run-{user}",  # noqa: S108
             f"/tmp/containers-user-{user}", f"/tmp/storage-run-{user}")  # noqa: S108  # fmt: skip
    found = set()
    for home in filter(None, homes):
        try:
            found.add(int((Path(home) / "libpod" / "tmp" / "pause.pid").read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return frozenset(found)


def is_rootless_docker() -> bool:
    """Returns whether this user's docker daemon runs as that user: root in its containers is the user."""
    done = call(["docker", "info", "--format", "{{json .SecurityOptions}}"])
    return "name=rootless" in done.out
