"""Processes of this host as /proc shows them: who they are, whose children, and how all of them end."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Identity(NamedTuple):
    """One process of one boot: a pid alone may belong to another process later."""

    pid: int
    start_ticks: int
    boot_id: str


def become_subreaper() -> None:
    """Makes this process the parent of every orphan among its descendants, whatever session it is in."""
    import ctypes  # not every image's Python has it, and inside a container nobody needs it

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def die_with_parent() -> Callable[[], None]:
    """Returns a function for between fork and exec: the process gets SIGTERM when its parent dies."""
    import ctypes

    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)

    return ask


def boot_id() -> str:
    """Returns the kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _stat(pid: int) -> list[str] | None:
    """Returns the fields of /proc/<pid>/stat from the state (field 3) on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes().decode("utf-8", "replace")
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def start_ticks(pid: int) -> int | None:
    """Returns when the process started, in clock ticks since boot; None where there is no such process."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def state_of(pid: int) -> str | None:
    """Returns the one-letter state of a process (R, S, D, T, Z, ...), None where there is none."""
    fields = _stat(pid)
    return fields[0] if fields else None


def identify(pid: int) -> Identity:
    """Returns the identity of a running process. Raises ProcessLookupError."""
    ticks = start_ticks(pid)
    if ticks is None:
        raise ProcessLookupError(pid)
    return Identity(pid, ticks, boot_id())


def is_alive(identity: Identity) -> bool:
    """Returns whether exactly this process still runs (a zombie does not)."""
    fields = _stat(identity.pid)
    return (
        fields is not None
        and fields[0] not in ("Z", "X")
        and int(fields[19]) == identity.start_ticks
        and boot_id() == identity.boot_id
    )


def _pids() -> list[int]:
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]


def descendants(root: int) -> list[int]:
    """Returns the pids of all living descendants of ``root``, without zombies, parents first."""
    children: dict[int, list[int]] = {}
    dead: set[int] = set()
    for pid in _pids():
        fields = _stat(pid)
        if fields:
            children.setdefault(int(fields[1]), []).append(pid)
            if fields[0] in ("Z", "X"):
                dead.add(pid)
    found: list[int] = []
    todo = list(children.get(root, ()))
    while todo:
        pid = todo.pop(0)
        found.append(pid)
        todo.extend(children.get(pid, ()))
    return [pid for pid in found if pid not in dead]


def environments_above() -> Iterator[dict[str, str]]:
    """Yields this process's environment, then its parents', nearest first, as far as they can be read."""
    yield dict(os.environ)
    pid = os.getppid()
    while pid > 1:
        fields = _stat(pid)
        if not fields:
            return
        try:
            entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            entries = []
        yield dict(os.fsdecode(entry).split("=", 1) for entry in entries if b"=" in entry)
        pid = int(fields[1])


def with_environment(wanted: Mapping[str, str]) -> list[int]:
    """Returns the pids whose environment at exec had all of ``wanted``, this process excepted."""
    needles = [f"{name}={value}".encode() for name, value in wanted.items()]
    found = []
    for pid in _pids():
        if pid == os.getpid():
            continue
        try:
            entries = set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
        except OSError:
            continue
        fields = _stat(pid)
        if entries.issuperset(needles) and fields and fields[0] not in ("Z", "X"):
            found.append(pid)
    return found


def command_line(pid: int) -> str:
    """Returns the command line of a process, at most 200 characters; empty for one that is gone."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return words.replace(b"\0", b" ").decode("utf-8", "replace").strip()[:200]


def describe(pid: int) -> str:
    """Returns pid, state letter and command line of a process as one line for a record."""
    fields = _stat(pid)
    return f"pid {pid} ({fields[0] if fields else 'gone'}): {command_line(pid)}"


def say_status(code: int) -> str:
    """Returns how a process ended in words: ``code`` is its exit status, negative for a signal."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def reap() -> dict[int, int]:
    """Waits for every child that has ended, without blocking; returns pid -> wait status."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = status


def _send(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def end_all(
    find: Callable[[], list[int]],
    grace_s: float,
    on_reaped: Callable[[dict[int, int]], None] | None = None,
    kill_s: float = 10.0,
) -> list[int]:
    """Ends every process that ``find`` names: SIGTERM, ``grace_s`` seconds, then SIGKILL until none is left.

    ``find`` is asked again and again, so processes born meanwhile are ended too, and none is left once nobody
    is found twice in a row: one that forks and ends while it looks is missed, as its child is. A process that
    was found stays wanted until it has ended: it loses its environment before, or with exec. Returns the pids
    that are still there ``kill_s`` seconds after the first SIGKILL (a process stuck in the kernel).
    """
    known: dict[int, Identity] = {}
    empty = 0

    def remaining() -> list[int]:
        nonlocal empty
        ended = reap()
        if ended and on_reaped:
            on_reaped(ended)
        found = find()
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                known[pid] = identify(pid)
        left = [pid for pid, identity in known.items() if is_alive(identity)]
        empty = 0 if found or left else empty + 1
        return left

    _send(remaining(), signal.SIGTERM)
    # A stopped process acts on SIGTERM only once it continues.
    _send(remaining(), signal.SIGCONT)
    end = time.monotonic() + grace_s
    while time.monotonic() < end:
        remaining()
        if empty >= 2:
            return []
        time.sleep(0.05)
    end = time.monotonic() + kill_s
    left = remaining()
    while (left or empty < 2) and time.monotonic() < end:
        _send(left, signal.SIGKILL)
        time.sleep(0.05)
        left = remaining()
    return left
