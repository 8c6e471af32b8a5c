"""The first process in a container: starts the program there, and ends it and itself when nobody watches.

It makes the program's environment inside, where ``$NAME`` has the image's values, writes down what it really
got, keeps the logs in the run's directory, and passes on how the program ended. The supervisor holds the
writing end of a FIFO: when that closes, by request or since the supervisor and its guardian were killed, the
program is ended, whatever became of the runtime's client or daemon.
"""

from __future__ import annotations

import os
import platform
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import processes, stacks
from .files import now_iso, read_json, write_json, write_text
from .launch import LaunchError, expand_environment, render_env_vars

AFTERMATH_S = 2.0
"""How long children may outlive the program before they count as left over."""

NOT_STARTED = 127
"""Exit status where the program itself could not be started, as a shell has it."""

_SHOWN = ("NCCL_", "NVSHMEM_", "EP_", "CUDA", "NVIDIA_", "MELLANOX_", "TORCH", "PYTORCH_", "GLOO_", "OMP_",
          "UCX_", "FI_", "LD_", "PYTHON", "DEEPEP_", "PATH", "HOME", "USER", "MASTER_", "WORLD_SIZE",
          "RANK")  # fmt: skip
_SECRET = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "KEY", "CREDENTIAL")


def main(arguments: list[str]) -> int:
    """Runs the program of the run directory ``arguments[0]``; returns its exit status."""
    folder = Path(arguments[0])
    spec = read_json(folder / "enter.json")
    if spec is None:
        try:
            (folder / "enter.json").read_bytes()
            reason = "it is no JSON object"
        except OSError as error:
            reason = f"{error.strerror}, as uid {os.getuid()}"
        print(f"cannot read {folder}/enter.json: {reason}", file=sys.stderr)
        return NOT_STARTED
    return Inside(folder, spec).run()


class Inside:
    """One program in its container, from its start to its recorded end."""

    def __init__(self, folder: Path, spec: Mapping[str, Any]) -> None:
        self._folder = folder
        self._spec = spec
        self._program = 0
        self._status: int | None = None
        self._stop = False
        self._report: dict[str, Any] = {}

    def run(self) -> int:
        """Starts the program and returns its exit status once nothing of it is left."""
        wake = self._listen()
        _adopt_orphans()
        watched = os.open(self._folder / "alive", os.O_RDONLY | os.O_NONBLOCK)
        killed_before = oom_kills()
        self._report = {
            "started_at": now_iso(),
            **surroundings(),
            "py_spy": stacks.find_py_spy(self._spec["argv"][0]),
        }
        try:
            env, unset = effective_environment(self._spec, os.environ)
            self._report["unset_variables"] = unset
            self._write_environment(env)
            self._need_files()
            self._start(env)
        except (LaunchError, OSError, ValueError) as error:
            return self._not_started(error)
        self._tell()
        self._wait(wake, watched)
        left = self._clear()
        code = _exit_code(self._status)
        self._tell(
            ended_at=now_iso(),
            exit_code=code,
            leftovers=left,
            oom_kills=oom_kills() - killed_before,
            asked_to_stop=self._stop,
        )
        return 128 - code if code < 0 else code

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

    def _write_environment(self, env: Mapping[str, str]) -> None:
        own = set(self._spec["env"])
        write_text(
            self._folder / "env_vars.sh", render_env_vars({name: env[name] for name in self._spec["env"]})
        )
        shown = {
            name: value
            for name, value in sorted(env.items())
            if (name in own or name.startswith(_SHOWN)) and not any(word in name for word in _SECRET)
        }
        others = sorted(set(env) - set(shown))
        write_json(self._folder / "logs" / "environment.json", {"variables": shown, "not_shown": others})

    def _need_files(self) -> None:
        for path in self._spec["needs"]:
            if not Path(path).is_file():
                raise LaunchError(
                    f"the image has no {path}: deepep_program: image needs the benchmark there; "
                    "deepep_program: bundled brings its own"
                )

    def _start(self, env: Mapping[str, str]) -> None:
        argv = self._spec["argv"]
        logs = self._folder / "logs"
        with (logs / "stdout.txt").open("ab") as out, (logs / "stderr.txt").open("ab") as err:
            try:
                program = subprocess.Popen(  # noqa: S603 - the plan's argv, no shell
                    argv,
                    env=dict(env),
                    cwd=self._spec["cwd"],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
            except FileNotFoundError:
                raise LaunchError(
                    f"the image has no {argv[0]} in its search path {env.get('PATH')}"
                ) from None
        self._program = program.pid
        program.returncode = 0  # waited for in _reap, with all others

    def _not_started(self, error: Exception) -> int:
        print(f"cannot start the program: {error}", file=sys.stderr)
        self._tell(ended_at=now_iso(), exit_code=NOT_STARTED, not_started=str(error))
        return NOT_STARTED

    def _tell(self, **more: Any) -> None:
        self._report.update(more)
        write_json(self._folder / "inside.json", self._report)

    def _wait(self, wake: int, watched: int) -> None:
        while self._status is None and not self._stop:
            select.select([wake, watched], [], [], 2.0)
            _drain(wake)
            # Asked every time: a FIFO that lost its writer before we came never becomes ready.
            said = _said(watched)
            self._stop = self._stop or said == b""
            if said:
                self._dump_stacks(float(said.split()[-1]))
            self._reap(processes.reap())

    def _dump_stacks(self, seconds: float) -> None:
        pids, end = processes.descendants(os.getpid()), time.monotonic() + seconds
        try:
            used = stacks.dump(pids, self._folder / "logs", self._spec["argv"][0], end)
        except OSError as error:
            used = f"nothing ({error.strerror})"
        self._tell(stacks=used, stacks_at=now_iso())

    def _reap(self, ended: Mapping[int, int]) -> None:
        if self._program in ended:
            self._status = ended[self._program]

    def _clear(self) -> list[str]:
        """Ends all that is left; returns what the program should not have left when it ended by itself."""

        def alive() -> list[int]:
            return processes.descendants(os.getpid())

        strangers: list[str] = []
        if self._status is not None:
            end = time.monotonic() + AFTERMATH_S
            while alive() and time.monotonic() < end:
                time.sleep(0.05)
                self._reap(processes.reap())
            strangers = [processes.describe(pid) for pid in alive()]
        left = processes.end_all(alive, float(self._spec["grace_s"]), self._reap)
        return [*strangers, *(processes.describe(pid) for pid in left)]


def _adopt_orphans() -> None:
    """Makes this process the parent of all orphans, as the first process of a PID namespace is by itself."""
    if os.getpid() == 1:
        return
    try:
        processes.become_subreaper()
    except (ImportError, OSError) as error:
        print(f"what the program leaves running may go unseen here: {error}", file=sys.stderr)


def effective_environment(
    spec: Mapping[str, Any], found: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Returns the program's whole environment, and the variables that had no value.

    ``found`` is the container's. The plan's variables win over it; ``defaults_env`` does not.
    """
    base = {**spec["defaults_env"], **found}
    own, unset = expand_environment(spec["env"], base)
    env = {**base, **own}
    home = env.get("HOME", "")
    if home in ("", "/") or not os.access(home, os.W_OK):
        env["HOME"] = "/tmp"  # noqa: S108 - of the container
    # torch asks for a name; a uid without an entry in the image's /etc/passwd has none.
    env.setdefault("USER", "root" if os.getuid() == 0 else f"uid-{os.getuid()}")
    return env, unset


def surroundings() -> dict[str, Any]:
    """Returns what the container really has of that which a benchmark depends on."""

    def limit(number: int) -> int | None:
        soft = resource.getrlimit(number)[0]
        return None if soft == resource.RLIM_INFINITY else soft

    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "uid": os.getuid(),
        "gid": os.getgid(),
        "hostname": socket.gethostname(),
        "interfaces": sorted(name for _, name in socket.if_nameindex()),
        "limits": {
            "memlock": limit(resource.RLIMIT_MEMLOCK),
            "stack": limit(resource.RLIMIT_STACK),
            "nofile": limit(resource.RLIMIT_NOFILE),
        },
        "memory_limit_bytes": _memory_limit(),
        "shm_bytes": _size("/dev/shm"),  # noqa: S108 - its size is asked for
        "gpus": len(_entries("/dev", "nvidia", digits=True)),
        "infiniband": _entries("/dev/infiniband", "uverbs"),
        "gdrcopy": Path("/dev/gdrdrv").exists(),
    }


def oom_kills() -> int:
    """Returns how often the kernel has ended a process of this container, or of its cgroup, for memory."""
    for name in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        try:
            lines = Path(name).read_text(encoding="ascii").splitlines()
        except (OSError, ValueError):
            continue
        for line in lines:
            key, _, value = line.partition(" ")
            if key == "oom_kill" and value.strip().isdigit():
                return int(value)
    return 0


def _memory_limit() -> int | None:
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(name).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        if text.isdigit() and int(text) < 1 << 60:
            return int(text)
    return None


def _size(folder: str) -> int | None:
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_blocks * found.f_frsize


def _entries(folder: str, prefix: str, digits: bool = False) -> list[str]:
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name.startswith(prefix))
    except OSError:
        return []
    return [name for name in names if not digits or name[len(prefix) :].isdigit()]


def _drain(handle: int) -> None:
    try:
        while os.read(handle, 512):
            pass
    except BlockingIOError:
        return


def _said(handle: int) -> bytes | None:
    """Returns what the supervisor wrote, in how many seconds it wants stacks; None for nothing new.

    Empty once nobody holds the other end.
    """
    try:
        return os.read(handle, 512)
    except BlockingIOError:
        return None


def _exit_code(status: int | None) -> int:
    """Returns the program's exit status, negative for a signal; that of a kill where it was never seen."""
    if status is None:
        return -int(signal.SIGKILL)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
