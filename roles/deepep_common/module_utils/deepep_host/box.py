"""A run's container in the hands of its supervisor: made, started, watched, ended and removed by its id."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from . import engine, processes
from .container import end_run, leftovers, remove
from .container_errors import explain
from .engine import ENGINES, ContainerError
from .files import now_iso, read_json, write_json

UNPACK_S = 3600.0
"""How long unpacking an image may take; the run's own deadline is usually earlier."""

HANDOVER_S = 0.5
"""So much earlier than here is the end inside, so that what it wrote is there in time."""

GLANCE_S = 5.0
GLANCE_AGAIN_S = 60.0
"""How long a look in passing waits for the engine: the deadline and a stop must not wait for a sick daemon,
which is asked again only after a while."""

SETTLE_S = 2.0
"""Beyond the grace: for the container to end by itself once its program has."""

OUT_OF_MEMORY = "killed by OOM (out of memory)"
"""How the cause begins where the kernel ended the program for memory: what follows says whose."""


class Ending(NamedTuple):
    """How a container ended. ``started`` is false where the program never ran."""

    started: bool
    exit_code: int
    cause: str | None


class Box:
    """One container. ``spec`` is launch.json's; ``log`` writes a line for the supervisor."""

    def __init__(self, folder: Path, spec: Mapping[str, Any], log: Callable[[str], None]) -> None:
        self._folder = folder
        self._spec = spec
        self._container: Mapping[str, Any] = spec["container"]
        self._runtime = str(self._container["runtime"])
        self._log = log
        self._alive: int | None = None
        self._id: str | None = None
        self._first: processes.Identity | None = None
        self._glance_at = 0.0
        self._told_before = 0
        self._facts: dict[str, Any] = {}

    # ---- start ----

    def open(self, poll: Callable[[], None], alone: bool = True) -> None:
        """Removes what earlier runs left on this host and makes the container, or unpacks the image.

        ``poll`` is called while that lasts and may raise. Without ``alone`` what is there of
        other sessions stays. Raises ContainerError.
        """
        if alone:
            self._clear_leftovers()
        for folder in self._container["directories"]:
            try:
                Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise ContainerError(f"cannot create {folder}: {error.strerror}") from error
        fifo = self._folder / "alive"
        if not fifo.exists():
            os.mkfifo(fifo, 0o600)
        # For reading too, so that opening does not wait for the other side. Not inherited by children.
        self._alive = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._told_before = self._size_of_stderr()
        if self._runtime in ENGINES:
            self._create(poll)
        else:
            self._unpack(poll)

    def _clear_leftovers(self) -> None:
        if self._runtime not in ENGINES:
            return
        work_dir, host = Path(self._container["work_dir"]), self._spec["host"]
        # The host lock is ours: no other session of this work directory runs here.
        old = [
            one
            for one in leftovers(work_dir, host, runtimes=[self._runtime])
            if one.run_id != self._spec["run_id"] or one.run == self._spec["run"]
        ]
        for one in old:
            self._log(f"removing what an earlier run left: {one.describe()}")
        stuck = remove(old)
        if stuck:
            raise ContainerError(
                f"an earlier run left {stuck[0].describe()}, which {self._runtime} cannot remove: "
                f"{self._runtime} rm --force {stuck[0].id[:12]}"
            )

    def _create(self, poll: Callable[[], None]) -> None:
        done = engine.call(self._container["create"], env=self._container["client_env"], poll=poll)
        if done.status:
            raise ContainerError(self._why(done.err or done.out))
        self._id = engine.last_line(done.out)
        self._log(f"created {self._runtime} container {self._id}")

    def _unpack(self, poll: Callable[[], None]) -> None:
        """Unpacks the image for the first run of a session; whoever comes second waits for it."""
        wanted = self._container["unpack"]
        data = Path(wanted["data"])
        target = data / wanted["rootfs"]
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (data / ".lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    poll()
                    time.sleep(0.2)
            if target.is_dir():
                return
            fresh = f"{wanted['rootfs']}.new-{os.getpid()}"
            self._log(f"unpacking {wanted['image']}")
            done = engine.call(
                ["enroot", "create", "--force", "--name", fresh, wanted["image"]],
                env=self._container["client_env"],
                timeout_s=UNPACK_S,
                poll=poll,
            )
            if done.status:
                raise ContainerError(self._why(done.err or done.out))
            # Never half an image under the name that others start.
            (data / fresh).replace(target)

    def _why(self, text: str) -> str:
        told = explain(text, str(self._container["image"]), str(self._container["python"]))
        return f"container could not be started: {told}"

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Returns argv and additional environment of the process that stands for the container."""
        env = dict(self._container["client_env"])
        if self._runtime in ENGINES:
            return [self._runtime, "start", "--attach", str(self._id)], env
        return list(self._container["start"]), env

    def identity(self) -> dict[str, Any]:
        """Returns what the state file keeps, so that others can end the container."""
        names = ("runtime", "name", "image", "image_id", "digest")
        return {"id": self._id, **{name: self._container[name] for name in names}}

    # ---- while it runs ----

    def pids(self, in_passing: bool = False) -> list[int]:
        """Returns the container's processes: docker's are the daemon's, not the supervisor's descendants.

        ``in_passing``: the engine gets little time to answer; where it does not, nothing is known.
        """
        if self._first is None or not processes.is_alive(self._first):
            self._first = self._find_first(in_passing)
        return [self._first.pid, *processes.descendants(self._first.pid)] if self._first else []

    def _find_first(self, in_passing: bool) -> processes.Identity | None:
        if in_passing and time.monotonic() < self._glance_at:
            return None
        began = time.monotonic()
        found = self._look(GLANCE_S if in_passing else engine.CALL_S)
        if time.monotonic() - began >= GLANCE_S:
            self._glance_at = time.monotonic() + GLANCE_AGAIN_S
        pid = int(((found or {}).get("State") or {}).get("Pid") or 0)
        try:
            return processes.identify(pid) if pid else None
        except ProcessLookupError:
            return None

    def stacks(self, end: float) -> str | None:
        """Has the image's own py-spy, where it has one, write stacks.txt; returns what was used, or None.

        py-spy of the host knows neither the container's pids nor its files. ``end``: a monotonic time.
        """
        inside = self._folder / "inside.json"
        if self._alive is None or not (read_json(inside) or {}).get("py_spy"):
            return None
        before = (read_json(inside) or {}).get("stacks_at")
        os.write(self._alive, f"{max(HANDOVER_S, end - time.monotonic() - HANDOVER_S):.1f}\n".encode())
        while time.monotonic() < end:
            told = read_json(inside) or {}
            if told.get("stacks_at") != before:
                return f"{told['stacks']} of the image"
            time.sleep(0.1)
        return None

    def _look(self, timeout_s: float = engine.CALL_S) -> dict[str, Any] | None:
        if self._id is None:
            return None
        try:
            entries = engine.inspect(self._runtime, [self._id], timeout_s)
        except ContainerError as error:
            self._log(str(error))
            return None
        return entries[0] if entries else None

    # ---- end ----

    def ending(self, client_code: int) -> Ending:
        """Returns how the program ended, once the client has; asked before the container is removed."""
        inside = read_json(self._folder / "inside.json") or {}
        known = self._look()
        state = (known or {}).get("State") or {}
        self._facts = {"inside": inside, "engine": {name: state.get(name) for name in (
            "Status", "ExitCode", "OOMKilled", "Error")} if known else None}  # fmt: skip
        memory = bool(inside.get("oom_kills") or state.get("OOMKilled"))
        code = int(inside.get("exit_code", state.get("ExitCode", client_code) or client_code))
        if inside.get("not_started"):
            return Ending(False, code, f"container could not be started: {inside['not_started']}")
        if "ended_at" in inside:
            if code == 0:
                return Ending(True, 0, None)
            return Ending(True, code, self._out_of_memory(inside, say(code)) if memory else say(code))
        if not inside:
            return Ending(False, code, self._why(f"{state.get('Error') or ''}\n{self._told_since()}"))
        if memory:
            return Ending(True, code, self._out_of_memory(inside, "the container was ended"))
        if state.get("Running"):
            text = f"the {self._runtime} client ended while its container ran: {say(client_code)}"
        elif self._runtime in ENGINES and known is None:
            text = "the container was removed by somebody else while the program ran"
        else:
            text = f"the container was ended from outside ({say(code or client_code)})"
        return Ending(True, code or client_code or -9, text)

    def _out_of_memory(self, inside: Mapping[str, Any], what: str) -> str:
        limit = inside.get("memory_limit_bytes")
        held = (
            f"its memory limit of {limit // 2**20} MiB was reached" if limit else "the host's memory was full"
        )
        return f"{OUT_OF_MEMORY}: {held}; {what}"

    def left_inside(self) -> list[str]:
        """Returns the processes that the program left running in its container; they are ended."""
        found = (read_json(self._folder / "inside.json") or {}).get("leftovers")
        return [f"in the container: {text}" for text in found] if isinstance(found, list) else []

    def release(self) -> None:
        """Tells the first process in the container to end the program and itself."""
        if self._alive is not None:
            os.close(self._alive)
            self._alive = None

    def remove(self) -> list[str]:
        """Ends and removes the container, whatever it does; returns one line for what did not go."""
        self.release()
        left = end_run(self._container)
        for text in left:
            self._log(f"not removed: {text}")
        # An engine that never made a container has nothing of ours, also where it does not answer.
        return left if self._id else []

    def record(self) -> None:
        """Writes logs/container.json: what was asked for and what there really was; removes the FIFO."""
        keep = ("runtime", "image", "image_id", "digest", "name", "create", "start", "client_env")
        asked = {name: self._container[name] for name in keep if name in self._container}
        inside = read_json(self._folder / "inside.json")
        write_json(
            self._folder / "logs" / "container.json",
            {"id": self._id, **asked, "engine": self._facts.get("engine"), "inside": inside,
             "recorded_at": now_iso()},
        )  # fmt: skip
        try:
            (self._folder / "alive").unlink()
        except FileNotFoundError:
            return

    def _size_of_stderr(self) -> int:
        path = self._folder / "logs" / "stderr.txt"
        return path.stat().st_size if path.exists() else 0

    def _told_since(self) -> str:
        """Returns what the client has written since the container was made."""
        try:
            with (self._folder / "logs" / "stderr.txt").open("rb") as stream:
                stream.seek(self._told_before)
                return stream.read(64 * 1024).decode("utf-8", "replace")
        except OSError:
            return ""


def say(code: int) -> str:
    """Returns an exit status, negative for a signal, in words."""
    return f"the program {processes.say_status(code)}"
