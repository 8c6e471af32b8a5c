"""What a host itself can say about why a program failed on it: memory, disk, processes that stand still."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from . import processes

FULL_BYTES = 1024 * 1024
"""A disk with less room than this counts as full."""

RESERVE = ".reserve"
RESERVE_BYTES = 256 * 1024
"""Room that is kept free for the last state of a run on a disk that has become full."""

EASY_PREY = "500"
"""The program's oom_score_adj: the kernel ends it before the supervisor, sshd, or somebody else's work."""


def out_of_memory_kills() -> int:
    """Returns how many processes of this one's control group the kernel has killed for want of memory.

    Such a kill counts in its victim's group, whether the group's limit was reached or the host's memory was
    full; what others have running on this host has groups of its own. Where groups do not tell: all kills
    since boot.
    """
    own = _kills_of_own_group()
    return _counter(Path("/proc/vmstat")) or 0 if own is None else own


def _kills_of_own_group() -> int | None:
    """Returns the count of this process' control group, v1 or v2; None where that cannot be read.

    With v2, a group without the memory controller is counted in the nearest one above that has it.
    """
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    top = Path("/sys/fs/cgroup")
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return _counter(top / "memory" / path.lstrip("/") / "memory.oom_control")
        if not controllers and (top / "cgroup.controllers").exists():
            group = top / path.lstrip("/")
            while group != top and not (group / "memory.events").exists():
                group = group.parent
            return _counter(group / "memory.events")
    return None


def _counter(path: Path) -> int | None:
    try:
        for line in path.read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None


def short_of_memory() -> str:
    """Returns what ran out where the kernel killed for want of memory."""
    inside = "SLURM_JOB_ID" in os.environ
    return f"the host{', or what its job may have of it,' if inside else ''} ran out of memory"


def offer_to_the_kernel(pid: int) -> None:
    """Has the kernel choose this process, and those it will start, where memory runs out."""
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text(EASY_PREY, encoding="ascii")
    except OSError:
        return


def keep_reserve(folder: Path) -> None:
    """Takes the room that :func:`free_reserve` gives back. Raises OSError where there is none already."""
    with (folder / RESERVE).open("wb") as stream:
        stream.write(os.urandom(RESERVE_BYTES))


def free_reserve(folder: Path) -> None:
    """Gives the reserve's room back."""
    try:
        (folder / RESERVE).unlink()
    except OSError:
        return


def disk_is_full(folder: Path) -> bool:
    """Returns whether there is no room left where the run writes, but for the reserve."""
    try:
        return shutil.disk_usage(folder).free < FULL_BYTES
    except OSError:
        return False


def standing_still(pids: Iterable[int]) -> list[int]:
    """Returns those of the processes that a signal has stopped (SIGSTOP, a debugger)."""
    return [pid for pid in pids if processes.state_of(pid) in ("T", "t")]
