"""Control groups of a lab: what belongs to a host is known by its group, and ended by it."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def unified() -> bool:
    """Returns whether this machine has cgroup v2 alone."""
    return (ROOT / "cgroup.controllers").exists()


def hierarchies() -> list[Path]:
    """Returns the top of each hierarchy: one with cgroup v2, one per controller with v1."""
    if unified():
        return [ROOT]
    return sorted({path.resolve() for path in ROOT.iterdir() if (path / "cgroup.procs").exists()})


class Group:
    """One group, named as a path below the top (``deepep-lab-0/node1``), in every hierarchy."""

    def __init__(self, name: str) -> None:
        self._paths = [top / name for top in hierarchies()]

    def create(self) -> None:
        """Makes the group; one that exists is fine. Raises OSError where groups cannot be made."""
        for path in self._paths:
            for folder in (path.parent, path):
                if folder in hierarchies():
                    continue
                folder.mkdir(exist_ok=True)
                for name in ("cpuset.cpus", "cpuset.mems"):
                    # A v1 group without processors takes no process.
                    if not unified() and (folder / name).exists():
                        (folder / name).write_text((folder.parent / name).read_text())
            if unified():
                for folder in (path.parent.parent, path.parent):
                    for controller in ("+cpu", "+memory", "+pids"):
                        with contextlib.suppress(OSError):
                            (folder / "cgroup.subtree_control").write_text(controller)

    def join(self) -> None:
        """Moves the calling process into the group; made for ``preexec_fn``."""
        me = str(os.getpid())
        for path in self._paths:
            (path / "cgroup.procs").write_text(me)

    def processes(self) -> list[int]:
        """Returns the processes in the group and below, as this machine numbers them."""
        # With v1, any process may leave one hierarchy (a container manager's do); it is in another then.
        found: set[int] = set()
        for path in self._paths:
            # os.walk minds no group that is removed meanwhile; Path.rglob raises.
            for folder, _, _ in os.walk(path):
                with contextlib.suppress(OSError):
                    found.update(int(line) for line in Path(folder, "cgroup.procs").read_text().split())
        return sorted(found - {0})

    def limit_memory(self, limit_bytes: int | None) -> None:
        """Sets the most memory the group may have; None takes the limit away.

        Where the kernel refuses less than is in use (v1), the limit is what is in use.
        """
        for path in self._paths:
            for name, unlimited in (("memory.max", "max"), ("memory.limit_in_bytes", "-1")):
                if (path / name).exists():
                    self._limit(path / name, unlimited if limit_bytes is None else str(limit_bytes))

    @staticmethod
    def _limit(file: Path, value: str) -> None:
        for _ in range(100):
            try:
                file.write_text(value)
                return
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                value = file.with_name("memory.usage_in_bytes").read_text()
        raise TimeoutError(f"{file} takes no limit")

    def cpu_s(self) -> float:
        """Returns the processor time that the group has used, in s."""
        for path in self._paths:
            if (path / "cpuacct.usage").exists():
                return int((path / "cpuacct.usage").read_text()) / 1e9
            if (path / "cpu.stat").exists() and unified():
                return int((path / "cpu.stat").read_text().split()[1]) / 1e6
        return 0.0

    def freeze(self, frozen: bool) -> None:
        """Stops every process of the group where it is, or lets all go on."""
        for path in self._paths:
            if (path / "freezer.state").exists():
                (path / "freezer.state").write_text("FROZEN" if frozen else "THAWED")
            if (path / "cgroup.freeze").exists():
                (path / "cgroup.freeze").write_text("1" if frozen else "0")

    def end(self, patience_s: float = 20.0) -> None:
        """Kills every process of the group and waits until none is left. Raises TimeoutError."""
        deadline = time.monotonic() + patience_s
        with contextlib.suppress(OSError):
            self.freeze(False)
        while pids := self.processes():
            if time.monotonic() > deadline:
                raise TimeoutError(f"processes that cannot be killed: {pids}")
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def remove(self) -> None:
        """Removes the group and what is below it; processes must have ended."""
        for path in self._paths:
            for name, _, _ in os.walk(path, topdown=False):
                for _ in range(50):
                    try:
                        Path(name).rmdir()
                    except FileNotFoundError:
                        break
                    except OSError:
                        # The kernel lets go of the last process a moment after it is gone.
                        time.sleep(0.02)
                    else:
                        break
