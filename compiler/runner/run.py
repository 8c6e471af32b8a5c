"""Runs a bundle as a user would with ``ansible-playbook site.yml``, and shows its progress meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from compiler.resources import host_code
from compiler.runner.ansible import Playbook, end
from compiler.runner.events import EventFile
from compiler.runner.progress import Progress
from compiler.runner.session import LOG
from compiler.runner.state import forget_answers, problems

host_code()

from deepep_host.session import find_session  # noqa: E402 - found by the line above

POLL_S = 0.2
ANSIBLE_INTERRUPTED = 99
"""``ansible-playbook``'s exit code after Ctrl-C, which may reach it and not us (a job in the background)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a playbook ended: its exit code, and whether it was interrupted."""

    code: int
    interrupted: bool


def play(playbook: Playbook, session: Path, limits_s: Mapping[str, float], *, verbose: bool) -> Outcome:
    """Plays one playbook of a bundle for the session in ``session``, showing progress on standard error.

    ``limits_s``: the time limit of every run, in the plan's order.

    Ctrl-C (and SIGTERM) end it; what it had started on the hosts goes on, see :func:`halt`.
    """
    events = EventFile(session / "events.jsonl")
    for _ in events.new():  # what an earlier playbook of this session said
        pass
    progress = Progress(sys.stderr, limits_s)
    with _terminations_interrupt():
        process = playbook.start(None if verbose else session / LOG)
        try:
            _follow(process, events, progress, draw=not verbose)
        except KeyboardInterrupt:
            progress.clear()
            end(process)
            return Outcome(process.returncode, interrupted=True)
    return Outcome(process.returncode, interrupted=process.returncode == ANSIBLE_INTERRUPTED)


def _follow(process: subprocess.Popen[bytes], events: EventFile, progress: Progress, *, draw: bool) -> None:
    running = True
    while running:
        running = process.poll() is None
        if draw:
            for event in events.new():
                progress.event(event)
            progress.tick()
        if running:
            time.sleep(POLL_S)
    progress.clear()


@contextmanager
def _terminations_interrupt() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does. A lost terminal (SIGHUP) does not: the run goes on without us."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


STOPPING = (
    ("stop.yml", "stopping what runs"),
    ("collect.yml", "fetching what is there"),
)


@dataclass(frozen=True, slots=True)
class Halted:
    """The exit codes of the playbooks that end a session."""

    stop: int
    collect: int

    @property
    def sure(self) -> bool:
        """Whether everything that may have run was stopped."""
        return self.stop == 0


def halt(playbook: Playbook, session: Path, cause: str) -> Halted:
    """Stops what a session has running on its hosts, fetches what is there.

    ``cause`` goes into the records of the runs that are stopped.
    """
    forget_answers(session)
    halted = Halted(*(_play_end(playbook, session, cause, *step) for step in STOPPING))
    if not halted.sure:
        lines = [f"  {host}: {text}" for host, text in problems(session).items()]
        lines += [] if lines else [f"stop.yml ended with {halted.stop}:", log_tail(session)]
        print(
            "\n".join(
                ["NOT STOPPED everywhere:", *lines, f"once that is mended: deepep-compiler stop {session}"]
            ),
            file=sys.stderr,
        )
    return halted


def end_preflight(playbook: Playbook, session: Path) -> None:
    """Ends what a preflight that was interrupted left on the hosts, and the session with it.

    Nothing was started, so that there is nothing to fetch. A host that does not answer ends it by itself.
    """
    _play_end(playbook, session, "interrupted", *STOPPING[0])
    find_session(session).end("interrupted")


def _play_end(playbook: Playbook, session: Path, cause: str, name: str, text: str) -> int:
    print(f"{text} ({name}) ...", file=sys.stderr, flush=True)
    told = (*playbook.extra_vars, f"deepep_run_stop_cause={cause}")
    return replace(playbook, name=name, extra_vars=told).start(session / LOG).wait()


def log_tail(session: Path, lines: int = 15) -> str:
    """Returns the end of Ansible's log, for a playbook that failed before any run was judged."""
    path = session / LOG
    if not path.is_file():
        return ""
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
