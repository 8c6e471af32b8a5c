"""The process that holds one run on one host: starts it, watches it, ends it, and says how it went.

Two processes, detached from whoever started them. The *supervisor* starts the program, keeps the deadline,
follows the progress and ends all descendants. Its parent, the *guardian*, does nothing but wait: should the
supervisor itself be killed, it ends what was left and says so in the state file. Both are subreapers:
torchrun puts every rank into a session of its own, so that process groups do not reach them.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from . import container, counters, engine, last_words, lease, processes, stacks, trouble
from .asked import ASKED, ASKED_S, EVIDENCE_S, TAKEN
from .box import OUT_OF_MEMORY, SETTLE_S, Box
from .engine import ContainerError
from .files import iso_time, now_iso, read_json, write_json
from .lock import HostInUse, acquire
from .state import COMPILE_S, COMPILING, STILL_RUNNING, ended, new_state, read_state, write_state

TICK_S = 0.25
"""How often progress is looked at; the end of the program wakes the supervisor at once."""

STILL_S = 2.0
"""How often processes are looked at that may stand still; twice in a row is once too often."""

HANGS_S = 30.0
"""A run that is stopped after it showed no progress for so long is taken for one that hangs."""

AFTERMATH_S = 2.0
"""How long children may outlive the program before they count as left over."""

UNWIND_S = 8.0
"""How long the runtime's own processes may take after their container has ended."""


class _Over(Exception):
    """The run is over before its program was started: it was stopped, or the time limit has passed."""


def main(arguments: list[str]) -> int:
    """Runs guardian and supervisor for the run directory ``arguments[0]``; returns the exit status."""
    folder = Path(arguments[0])
    spec = read_json(folder / "launch.json")
    if spec is None:
        print(f"{folder}/launch.json is missing or no JSON object", file=sys.stderr)
        return 2
    processes.become_subreaper()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            Supervisor(folder, spec).run()
            status = 0
        except BaseException as error:
            log(f"supervisor failed: {type(error).__name__}: {error}")
            raise
        finally:
            sys.stderr.flush()
            os._exit(status)
    return guard(folder, spec, child)


def log(text: str) -> None:
    """Writes one line with the time to logs/supervisor.txt, which is this process's stderr."""
    # On a full disk the line is lost; the run is not.
    with contextlib.suppress(OSError):
        print(f"{now_iso()} {text}", file=sys.stderr, flush=True)


def guard(folder: Path, spec: dict[str, Any], child: int) -> int:
    """Waits for the supervisor; ends and records everything should it have died without an end."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, frame: _forward(child))
    status = None
    while status is None:
        pid, code = os.waitpid(-1, 0)
        status = code if pid == child else None
    state = read_state(folder) or new_state(spec["run_id"], spec["run"], spec["host"])
    if state["status"] == "ended":
        return 0
    how = (
        f"by signal {os.WTERMSIG(status)}"
        if os.WIFSIGNALED(status)
        else f"with status {os.WEXITSTATUS(status)}"
    )
    log(f"the supervisor ended {how}; ending what it left")
    # The container first: its processes may be ours too, and the runtime must not lose track of them.
    stuck = container.end_run(spec["container"]) if spec.get("container") else []
    left = processes.end_all(lambda: processes.descendants(os.getpid()), float(spec["grace_s"]))
    left += [pid for pid in marked(spec) if pid not in left]
    state["leftovers"] = [*stuck, *(processes.describe(pid) for pid in left)]
    write_state(
        folder, ended(state, "lost", f"the supervisor on this host ended {how}; its processes were ended")
    )
    return 1


def _forward(child: int) -> None:
    try:
        os.kill(child, signal.SIGTERM)
    except ProcessLookupError:
        return


def marked(spec: dict[str, Any]) -> list[int]:
    """Returns the processes that carry this run's marks in their environment."""
    return processes.with_environment(
        {"DEEPEP_RUN_ID": spec["run_id"], "DEEPEP_HOST": spec["host"], "DEEPEP_RUN": spec["run"]}
    )


class Supervisor:
    """One run on one host, from its start to its recorded end."""

    def __init__(self, folder: Path, spec: dict[str, Any]) -> None:
        self._folder = folder
        self._spec = spec
        self._state: dict[str, Any] = new_state(spec["run_id"], spec["run"], spec["host"])
        self._stop = False
        self._program: int | None = None
        self._status: int | None = None
        self._started = time.monotonic()
        self._deadline = self._started + float(spec["time_limit_s"])
        self._compiled_s = 0.0
        self._counted = self._started
        self._progress_seen = (0, 0)
        self._counters: dict[str, int] = {}
        self._lock: int | None = None
        self._moved = self._started
        self._looked = self._started
        self._still: list[int] = []
        self._killed_before = trouble.out_of_memory_kills()
        self._asked_at: str | None = None
        self._box = Box(folder, spec, log) if spec.get("container") else None

    def run(self) -> None:
        """Starts the program and returns once nothing of it is left and the end is on disk."""
        processes.become_subreaper()
        wake = self._listen()
        self._introduce()
        try:
            lock = acquire(Path(self._spec["lock"]), self._spec["run_id"])
        except (HostInUse, OSError) as error:
            self._finish("start_failed", str(error), None)
            return
        # Kept open, and so locked, until nothing of the run is left.
        os.set_inheritable(lock, False)
        self._lock = lock
        # The session's lease too; it ends with this process, whatever comes.
        lease.hold(Path(self._spec["base"]))
        outcome = ""
        try:
            self._open_box()
            self._start()
        except _Over as over:
            outcome = str(over)
        except ContainerError as error:
            self._fail_to_start(str(error))
            return
        except (OSError, ValueError) as error:
            self._fail_to_start(f"cannot start {self._argv()[0]}: {error}")
            return
        self._end(outcome or self._watch(wake))

    def _fail_to_start(self, cause: str) -> None:
        if self._box:
            self._state["leftovers"] = self._box.remove()
            self._box.record()
        self._finish("start_failed", cause, None)

    def _open_box(self) -> None:
        if self._box is None:
            return
        self._state.update(status="running", phase="container")
        write_state(self._folder, self._state)
        self._box.open(self._still_wanted)
        self._state["container"] = self._box.identity()
        write_state(self._folder, self._state)

    def _still_wanted(self) -> None:
        if self._stop:
            raise _Over("stopped")
        if time.monotonic() >= self._deadline:
            raise _Over("timeout")

    def _argv(self) -> list[str]:
        """Returns the command of the process whose end is the run's: the runtime's client, or the program."""
        return self._box.command()[0] if self._box else list(self._spec["argv"])

    def _listen(self) -> int:
        reader, writer = os.pipe()
        for end in (reader, writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        return reader

    def _on_stop(self, number: int, frame: object) -> None:
        self._stop = True

    def _introduce(self) -> None:
        me, parent = processes.identify(os.getpid()), processes.identify(os.getppid())
        self._state.update(
            pid=me.pid,
            start_ticks=me.start_ticks,
            boot_id=me.boot_id,
            guardian={"pid": parent.pid, "start_ticks": parent.start_ticks},
            deadline_at=iso_time(time.time() + float(self._spec["time_limit_s"])),
        )
        write_state(self._folder, self._state)

    def _start(self) -> None:
        spec = self._spec
        argv = self._argv()
        env = self._box.command()[1] if self._box else spec["env"]
        self._counters = counters.read()
        with self._log("stdout") as out, self._log("stderr") as err:
            program = subprocess.Popen(  # noqa: S603 - the plan's argv, no shell
                argv,
                env={**os.environ, **env},
                cwd=spec["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=processes.die_with_parent(),
            )
        # Waited for in _reap, with all others; Popen must not complain about that when it is collected.
        self._program = program.pid
        program.returncode = 0
        trouble.offer_to_the_kernel(program.pid)
        log(f"started {argv[0]} as pid {program.pid}, time limit {spec['time_limit_s']} s")
        self._state.update(status="running", phase="rendezvous", program_pid=program.pid)
        write_state(self._folder, self._state)

    def _log(self, kind: str) -> IO[bytes]:
        return (self._folder / "logs" / f"{kind}.txt").open("ab")

    def _watch(self, wake: int) -> str:
        while True:
            self._reap(processes.reap())
            if self._status is not None:
                return "stopped" if self._stop and self._status else "exited"
            if self._stop:
                return "stopped"
            self._follow()
            self._look_around()
            self._wait_for_kernels()
            left = self._deadline - time.monotonic()
            if left <= 0:
                return "timeout"
            self._look_for_still_ones()
            select.select([wake], [], [], min(TICK_S, left))
            try:
                while os.read(wake, 512):
                    pass
            except BlockingIOError:
                pass

    def _reap(self, ended_children: dict[int, int]) -> None:
        if self._program in ended_children:
            self._status = ended_children[self._program]

    def _follow(self) -> None:
        path = self._folder / "progress.json"
        try:
            found = path.stat()
        except OSError:
            return
        # The clock of files is coarse: two that replace each other may have the same time.
        seen = (found.st_mtime_ns, found.st_ino)
        if seen == self._progress_seen:
            return
        self._progress_seen = seen
        self._moved = time.monotonic()
        progress = read_json(path)
        if progress:
            phase = progress.get("phase")
            if isinstance(phase, str):
                self._enter(phase)
            self._state["progress"] = {key: progress.get(key) for key in ("operation", "done", "total")}
            self._save()

    def _enter(self, phase: str) -> None:
        if self._state["phase"] == COMPILING != phase:
            self._wait_for_kernels()
            self._state["compile_s"] = round(self._compiled_s, 3)
            log(f"kernels were compiled in {self._compiled_s:.1f} s, which the time limit does not count")
        self._state["phase"] = phase

    def _wait_for_kernels(self) -> None:
        """Moves the deadline along while the program compiles, for COMPILE_S at most."""
        now = time.monotonic()
        passed, self._counted = now - self._counted, now
        if self._state["phase"] != COMPILING:
            return
        passed = min(passed, COMPILE_S - self._compiled_s)
        self._compiled_s += passed
        self._deadline += passed
        left = self._deadline - now
        self._state["deadline_at"] = iso_time(time.time() + left)

    def _save(self) -> None:
        """Writes the state; what cannot be written now is in the next one."""
        try:
            write_state(self._folder, self._state)
        except OSError as error:
            log(f"the state cannot be written: {error}")

    def _look_for_still_ones(self) -> None:
        """Notes processes of the run that a signal has stopped: from then on the others wait for them."""
        now = time.monotonic()
        if now - self._looked < STILL_S:
            return
        self._looked = now
        before, self._still = self._still, trouble.standing_still(self._of_run(in_passing=True))
        twice = sorted(set(before) & set(self._still))
        if twice and not self._state["still"]:
            self._state["still"] = [processes.describe(pid) for pid in twice]
            self._state["first_failure_at"] = now_iso()
            log(f"stopped by a signal: {', '.join(self._state['still'])}")
            self._save()
        elif self._state["still"] and not self._still:
            log("they go on")
            self._state.update(still=[], first_failure_at=None)
            self._save()

    def _end(self, outcome: str) -> None:
        cause = None
        request = read_json(self._folder / "stop.json") or {}
        limit = f"{STILL_RUNNING} at the time limit of {self._spec['time_limit_s']} s"
        if outcome == "stopped" and request.get("outcome") == "timeout":
            # A limit of the launcher's own (a Slurm job's) is as near as the run's.
            outcome, limit = "timeout", f"{STILL_RUNNING} when {request.get('cause')}"
        if outcome == "timeout":
            log("the time limit has passed")
            self._state["first_failure_at"] = self._state["first_failure_at"] or now_iso()
            phase = self._state["phase"]
            cause = limit + (f", in phase {phase}" if phase else "")
            if self._compiled_s:
                cause += f"; {self._compiled_s:.0f} s of compiling before are not counted"
            self._take_evidence(EVIDENCE_S)
        elif outcome == "stopped":
            cause = str(request.get("cause") or "stopped by a signal to the supervisor")
            log(f"asked to stop: {cause}")
            if self._asked_at is None and time.monotonic() - self._moved > HANGS_S:
                self._take_evidence(EVIDENCE_S)
        self._look_around()
        code = _exit_code(self._status)
        if outcome == "exited" and code:
            self._state["first_failure_at"] = self._state["first_failure_at"] or self._asked_at
        if outcome == "exited" and self._box:
            ending = self._box.ending(code or 0)
            outcome = "exited" if ending.started else "start_failed"
            code, cause = ending.exit_code, ending.cause
        elif outcome == "exited" and code:
            cause = f"the program {processes.say_status(code)}"
        left = self._clear_box() if self._box else []
        left += self._clear(outcome)
        self._follow()
        self._state["leftovers"] = left
        with contextlib.suppress(OSError):
            counters.keep(self._folder / "logs" / counters.FILE, self._counters)
        self._finish(outcome, cause, code if outcome == "exited" else None)

    def _look_around(self) -> None:
        """Looks where everything stands once the program asks for it, which then ends itself."""
        if self._asked_at is not None or not (self._folder / ASKED).exists():
            return
        self._asked_at = now_iso()
        log("the program asks for a look around: it hangs, or others are lost")
        self._take_evidence(ASKED_S)
        with contextlib.suppress(OSError):
            (self._folder / TAKEN).touch()

    def _take_evidence(self, seconds: float) -> None:
        """Writes where everything stands before it ends: stacks, last words of each rank, devices."""
        pids = self._of_run()
        logs, end = self._folder / "logs", time.monotonic() + seconds
        try:
            devices = last_words.ask_devices(logs)
            if pids:
                told = self._box.stacks(end) if self._box else None
                self._state["stacks"] = told or stacks.dump(pids, logs, self._spec["argv"][0], end)
            last_words.write(logs)
            last_words.await_devices(devices, logs, end)
        except OSError as error:
            log(f"no evidence could be written: {error}")

    def _of_run(self, in_passing: bool = False) -> list[int]:
        """Returns the run's processes here, wherever its container's hang in the tree."""
        pids = processes.descendants(os.getpid())
        inside = self._box.pids(in_passing) if self._box else ()
        return pids + [pid for pid in inside if pid not in pids]

    def _clear_box(self) -> list[str]:
        """Ends and removes the container; returns what its program left running, and what did not go."""
        assert self._box is not None  # noqa: S101 - for mypy
        self._box.release()
        end = time.monotonic() + float(self._spec["grace_s"]) + SETTLE_S
        while self._program and self._status is None and time.monotonic() < end:
            self._reap(processes.reap())
            time.sleep(0.05)
        left = [*self._box.left_inside(), *self._box.remove()]
        # The runtime's own helpers may be descendants too: they are no leftovers while they tidy up.
        end = time.monotonic() + UNWIND_S
        while self._alive() and time.monotonic() < end:
            self._reap(processes.reap())
            time.sleep(0.05)
        self._box.record()
        return left

    def _alive(self) -> list[int]:
        """Returns what lives of the run here; not what the user's containers share, of whatever run."""
        shared = engine.shared_helpers() if self._box else frozenset()
        return [pid for pid in processes.descendants(os.getpid()) if pid not in shared]

    def _clear(self, outcome: str) -> list[str]:
        """Ends all descendants; returns those that should not have been there, or did not go."""
        strangers: dict[int, str] = {}
        if outcome == "exited":
            end = time.monotonic() + AFTERMATH_S
            while self._alive() and time.monotonic() < end:
                time.sleep(0.05)
                processes.reap()
            strangers = {pid: processes.describe(pid) for pid in self._alive()}
            for stranger in strangers.values():
                log(f"left running by the program: {stranger}")
        left = processes.end_all(self._alive, float(self._spec["grace_s"]), self._reap)
        left += [pid for pid in marked(self._spec) if pid not in left]
        return [*strangers.values(), *(processes.describe(pid) for pid in left if pid not in strangers)]

    def _finish(self, outcome: str, cause: str | None, code: int | None) -> None:
        if outcome == "exited" and code == 0:
            self._state.update(still=[], first_failure_at=None)
        elif outcome != "stopped" or self._state["still"]:
            known = self._troubles(cause or "")
            # Others that failed while they waited for this one are no part of its story.
            cause = "; ".join(known if outcome == "stopped" else filter(None, [*known, cause]))
        state = ended(self._state, outcome, cause or None, code)
        state["elapsed_s"] = round(time.monotonic() - self._started, 3)
        if self._lock is not None:
            # Whoever reads that this run has ended finds the host free.
            os.close(self._lock)
        trouble.free_reserve(self._folder)
        write_state(self._folder, state)
        log(
            f"ended: {outcome}"
            + (f", exit code {code}" if code is not None else "")
            + (f": {cause}" if cause else "")
        )

    def _troubles(self, cause: str) -> list[str]:
        """Returns what this host knows that explains a failure, beyond what ``cause`` says already."""
        found = []
        if self._state["still"]:
            found.append(f"stopped by a signal (SIGSTOP or a debugger): {', '.join(self._state['still'])}")
        killed = trouble.out_of_memory_kills() - self._killed_before
        # A container knows better whose memory it was: its own limit is no trouble of the host.
        if killed > 0 and not cause.startswith(OUT_OF_MEMORY):
            found.append(f"{trouble.short_of_memory()}: the kernel killed {killed} process(es) meanwhile")
        if trouble.disk_is_full(self._folder):
            found.append(f"the disk is full (No space left on device) at {self._folder}")
        return found


def _exit_code(status: int | None) -> int | None:
    if status is None:
        return None
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def request_stop(folder: Path, cause: str, outcome: str = "stopped") -> None:
    """Leaves the reason of a stop where the supervisor will read it. The first reason stays.

    ``outcome`` is ``stopped``, or ``timeout`` where it is a limit that asks.
    """
    path = folder / "stop.json"
    if not path.exists():
        write_json(path, {"cause": cause, "outcome": outcome, "at": now_iso()})
