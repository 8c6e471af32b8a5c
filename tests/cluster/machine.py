"""Machines of a lab: boot, power loss, links, processes, files. Made by :class:`tests.cluster.lab.Lab`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pwd
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster.cgroups import Group

if TYPE_CHECKING:
    from tests.cluster.lab import Lab

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INIT = Path(__file__).with_name("host_init.py")
BOOT_S = 60.0
"""How long a machine may take to come up on a machine that is busy."""


class LabError(Exception):
    """The lab cannot do what was asked; the text says why, with what the machine itself wrote."""


@dataclasses.dataclass(frozen=True)
class Process:
    """A process on a host, seen from this machine: ``pid`` is the number here, ``host_pid`` the one there."""

    pid: int
    host_pid: int
    command: str
    environment: Mapping[str, str]


class Machine:
    """Something with a network port: a namespace of network and processes. Subclasses say what is on it."""

    own_root = False

    def __init__(self, lab: Lab, name: str, address: str) -> None:
        self.lab = lab
        self.name = name
        self.address = address
        self.folder = lab.folder / name
        self.group = Group(f"{lab.name}/{name}")
        self._pid: int | None = None
        self._relay: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The first process of the machine. Raises LabError where it is off."""
        if self._pid is None:
            raise LabError(f"{self.name} is off")
        return self._pid

    @property
    def on(self) -> bool:
        """Whether the machine runs."""
        return self._pid is not None and Path(f"/proc/{self._pid}/root").exists() and self._listed()

    def _listed(self) -> bool:
        return self._pid in self.group.processes()

    # -- power ------------------------------------------------------------------------------------------

    def power_on(self, fresh: bool = False) -> None:
        """Begins to boot; ``wait_until_up`` waits. With ``fresh``, on an empty disk (with a new host key)."""
        if self._pid is not None:
            raise LabError(f"{self.name} is on already")
        self.folder.mkdir(exist_ok=True)
        self.group.create()
        spec = json.dumps(self._spec(fresh))
        with (self.folder / "boot.log").open("ab") as log:
            subprocess.Popen(
                ["nsenter", f"--target={self.lab.switch_pid}", "--mount", "--pid", "--", sys.executable, "-I",
                 "-S", str(INIT), "disk", spec],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=self.group.join,
            )  # fmt: skip

    def _spec(self, fresh: bool) -> dict[str, Any]:
        return {
            "name": self.name,
            "own_root": self.own_root,
            "disk": str(self.folder / "disk"),
            "disk_bytes": 16 << 20,
            "fresh": fresh,
            "address": f"{self.address}/{self.lab.network.prefixlen}",
            "binds": [],
            "covers": [],
        }

    def find_pid(self) -> None:
        """Waits for the machine's first process."""
        end = time.monotonic() + BOOT_S
        while self._pid is None:
            for pid in self.group.processes():
                if _namespace_pids(pid)[2:] == [1]:
                    self._pid = pid
            if time.monotonic() > end:
                raise LabError(f"{self.name} does not boot: {self.boot_log()}")
            time.sleep(0.01)

    def wait_until_up(self) -> None:
        """Waits for the machine's services. Raises LabError."""
        end = time.monotonic() + BOOT_S
        while not self._is_up():
            if time.monotonic() > end or not self.on:
                raise LabError(f"{self.name} does not come up: {self.boot_log()}")
            time.sleep(0.02)

    def _is_up(self) -> bool:
        return _command(self.pid).endswith("sleep infinity")

    def _listens(self, port: int, table: str = "tcp") -> bool:
        try:
            lines = Path(f"/proc/{self.pid}/net/{table}").read_text().splitlines()[1:]
        except OSError:
            return False
        return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines)

    def boot_log(self) -> str:
        """Returns what the machine wrote while it came up."""
        return (self.folder / "boot.log").read_text(encoding="utf-8", errors="replace")

    def power_off(self) -> None:
        """Power loss: every process ends at once; what the disk holds stays."""
        self.clear_link()
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self.group.end()
        self._pid = None

    # -- network ----------------------------------------------------------------------------------------

    @property
    def port(self) -> str:
        """The name of its port on the switch."""
        return f"p-{self.name}"

    @property
    def mac(self) -> str:
        """The address of its network card, which a reboot does not change."""
        return "02:00:" + ":".join(f"{int(part):02x}" for part in self.address.split("."))

    def link(self, up: bool) -> None:
        """Pulls the network cable at the switch, or plugs it in."""
        self.lab.on_switch("ip", "link", "set", self.port, "up" if up else "down")

    def disturb(self, delay_ms: float = 0, jitter_ms: float = 0, loss: float = 0) -> None:
        """Delays (each way) and loses packets on the machine's cable, until ``clear_link``."""
        self.clear_link()
        relay = subprocess.Popen(
            ["nsenter", f"--target={self.lab.switch_pid}", "--net", "--", sys.executable, "-I", "-S",
             str(INIT.with_name("relay.py")), self.name, str(delay_ms), str(jitter_ms), str(loss)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=self.lab.group.join,
        )  # fmt: skip
        assert relay.stdout is not None
        if relay.stdout.readline() != b"up\n":
            relay.kill()
            relay.wait()
            raise LabError("the relay does not come up")
        self._relay = relay

    def clear_link(self) -> None:
        """Takes delay and loss away."""
        if self._relay is not None:
            self._relay.terminate()
            self._relay.wait(10)
            self._relay = None

    @contextlib.contextmanager
    def no_way_to(self, *others: Machine) -> Iterator[None]:
        """While it lasts, this machine has no route to the others (and gets no answers through)."""
        routes = [["route", "add", "unreachable", f"{other.address}/32"] for other in others]
        for route in routes:
            self.run("ip", *route)
        try:
            yield
        finally:
            for route in routes:
                self.run("ip", "route", "del", *route[2:])

    # -- processes --------------------------------------------------------------------------------------

    def _enter(self, cwd: str | Path | None) -> list[str]:
        spaces = ("mount", "net", "uts", "ipc", "pid", "cgroup")
        return ["nsenter", f"--target={self.pid}", *(f"--{space}" for space in spaces), "--"]

    def _environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        return {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **extra}

    def popen(
        self, *argv: str | Path, user: str | None = None, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """Starts a command on the machine; options are Popen's. ``cwd`` is the controller's alone."""
        words = [str(word) for word in argv]
        if user is not None:
            words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--", *words]
            env = {"HOME": f"/home/{user}", **(env or {})}
        return subprocess.Popen(
            [*self._enter(options.pop("cwd", None)), *words],
            env=self._environment(env or {}),
            preexec_fn=self.group.join,
            **options,
        )

    def run(
        self,
        *argv: str | Path,
        check: bool = True,
        user: str | None = None,
        input: str | None = None,
        timeout: float = 120,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on the machine and returns its output. Raises LabError unless it ends with 0."""
        process = self.popen(
            *argv,
            user=user,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        done = subprocess.CompletedProcess(list(map(str, argv)), process.returncode, out, err)
        if check and done.returncode:
            raise LabError(f"{self.name}: {shlex.join(done.args)} ended with {done.returncode}: {out}{err}")
        return done

    def spawn(
        self, *argv: str | Path, log: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[Any]:
        """Starts a service on the machine that writes to ``log`` (a file of this machine)."""
        with log.open("ab") as sink:
            return self.popen(
                *argv, env=env, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
            )

    def processes(self, word: str = "") -> list[Process]:
        """Returns the machine's processes whose command line has ``word``, but for its first one."""
        found = []
        for pid in self.group.processes():
            pids, command = _namespace_pids(pid), _command(pid)
            # Fewer numbers: outside of the machine, one that waits for a command in it.
            if pid != self._pid and len(pids) >= 3 and word in command:
                found.append(Process(pid, pids[2], command, _environment(pid)))
        return found

    def signal(self, word: str, number: int) -> list[Process]:
        """Sends a signal to the processes whose command line has ``word``; returns them."""
        found = self.processes(word)
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)
        return found


class Controller(Machine):
    """Where Ansible runs: this machine's files and processes, the lab's network, host names and SSH settings.

    ``ssh node1`` and Ansible work here as on a user's machine: ``/etc/ssh/ssh_config`` is the lab's, with
    strict checking of host keys; the user's own ``~/.ssh`` is hidden; HOME is a folder of the lab.
    """

    def _spec(self, fresh: bool) -> dict[str, Any]:
        keys = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".ssh"
        return {
            **super()._spec(fresh),
            "binds": [
                [str(self.lab.folder / "hosts"), "/etc/hosts"],
                [str(self.lab.folder / "ssh_config"), "/etc/ssh/ssh_config"],
            ],
            "covers": [str(keys)] if keys.is_dir() else [],
        }

    def _enter(self, cwd: str | Path | None) -> list[str]:
        # Entering a mount namespace leads to its root.
        return ["nsenter", f"--target={self.pid}", "--mount", "--net", f"--wd={cwd or '/'}", "--"]

    def _environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ANSIBLE_", "SSH_", "DEEPEP_")) and name != "HOME"
        }
        home = self.lab.folder / "home"
        home.mkdir(exist_ok=True)
        return {**kept, "HOME": str(home), **extra}

    def run(self, *argv: str | Path, check: bool = False, **options: Any) -> subprocess.CompletedProcess[str]:
        """Like :meth:`Machine.run`, but does not mind other exit codes than 0 by default."""
        options.setdefault("timeout", 600)
        return super().run(*argv, check=check, **options)

    def vanish(self) -> None:
        """Ends every command of the controller at once, as power loss does; the next one finds it as new."""
        end = time.monotonic() + BOOT_S
        while pids := [pid for pid in self.group.processes() if len(_namespace_pids(pid)) == 1]:
            if time.monotonic() > end:
                raise LabError(f"the controller's commands do not end: {pids}")
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)


class Host(Machine):
    """A host of the cluster: its own root file system over this machine's, disk, users, host key, sshd."""

    own_root = True

    def __init__(self, lab: Lab, name: str, address: str, disk_bytes: int, extra: Mapping[str, str]) -> None:
        super().__init__(lab, name, address)
        self.disk_bytes = disk_bytes
        self._files = dict(extra)

    def _spec(self, fresh: bool) -> dict[str, Any]:
        return {
            **super()._spec(fresh),
            "disk_bytes": self.disk_bytes,
            "lower": self.lab.lower,
            "hosts_file": str(self.lab.folder / "hosts"),
            "public_key": (self.lab.folder / "id.pub").read_text(),
            "users": self.lab.users,
            "binds": self.lab.shared_folders,
            "writable": self.lab.writable_folders,
            "files": self._files,
            "executables": [path for path in self._files if path.startswith("/usr/local/bin/")],
        }

    def _is_up(self) -> bool:
        return super()._is_up() and self._listens(22)

    def boot(self, fresh: bool = False, trust: bool = True) -> None:
        """Switches on and waits until SSH answers; with ``trust`` its host key is known to the controller."""
        self.power_on(fresh)
        self.lab.plug_in(self)
        self.wait_until_up()
        if trust:
            self.lab.trust()

    def reboot(self) -> None:
        """Power loss and boot, with the disk as it was."""
        self.power_off()
        self.boot()

    def reinstall(self, trust: bool = False) -> None:
        """Power loss, then boot on an empty disk: with a new host key, which nobody trusts yet."""
        self.power_off()
        self.boot(fresh=True, trust=trust)

    def host_key(self) -> str:
        """Returns the public host key, type and key."""
        return " ".join(self.read("/etc/ssh/ssh_host_ed25519_key.pub").split()[:2])

    def root(self, path: str | Path) -> Path:
        """Returns where this machine sees a path of the host."""
        return Path(f"/proc/{self.pid}/root") / str(path).lstrip("/")

    def read(self, path: str | Path) -> str:
        """Returns a text file of the host."""
        return self.root(path).read_text(encoding="utf-8", errors="replace")

    def forget(self) -> None:
        """Removes the work directories of all users: images that tests before brought stay in them."""
        self.run("sh", "-c", "rm -rf /var/tmp/deepep-*")

    def exists(self, path: str | Path) -> bool:
        """Whether the host has that path."""
        return os.path.lexists(self.root(path))

    def kill_sshd(self) -> None:
        """Ends sshd and every session it holds: the host runs on, but nobody gets in."""
        end = time.monotonic() + BOOT_S
        while self.signal("sshd", signal.SIGKILL) or self._listens(22):
            if time.monotonic() > end:
                raise LabError(f"{self.name}: sshd does not end")
            time.sleep(0.02)

    def start_sshd(self) -> None:
        """Starts sshd again."""
        self.spawn("sh", "-c", "exec /usr/sbin/sshd -D -e >>/var/log/sshd.log 2>&1",
                   log=self.folder / "sshd.log")  # fmt: skip
        self.wait_until_up()

    def fill_disk(self, leave_bytes: int = 0) -> None:
        """Makes the disk full but for ``leave_bytes``, by making it smaller; ``empty_disk`` undoes it."""
        for left in reversed(range(20)):
            state = os.statvfs(self.root("/root"))
            used = (state.f_blocks - state.f_bfree) * state.f_frsize
            try:
                self._resize_disk(used + max(leave_bytes, 1))
                return
            except subprocess.CalledProcessError:
                # Somebody wrote in between: smaller than what is used it cannot be.
                if not left:
                    raise

    def empty_disk(self) -> None:
        """Gives the disk its size back."""
        self._resize_disk(self.disk_bytes)

    def _resize_disk(self, size: int) -> None:
        subprocess.run(
            ["nsenter", f"--target={self.lab.switch_pid}", "--mount", "--", "mount", "-o",
             f"remount,size={size}", str(self.folder / "disk")],
            check=True,
        )  # fmt: skip

    def limit_memory(self, limit_bytes: int | None) -> None:
        """Gives the host this much memory (its disk lies in it too); None for all there is."""
        self.group.limit_memory(limit_bytes)

    def freeze(self, frozen: bool = True) -> None:
        """Stops the whole host where it stands (a stuck machine), or lets it go on."""
        self.group.freeze(frozen)

    def of_benchmark(self) -> list[Process]:
        """Returns what a session of this project has running here: known by its mark or by its files."""
        return [
            process
            for process in self.processes()
            if "DEEPEP_RUN_ID" in process.environment
            or "supervise.py" in process.command
            or "deepep" in process.command
        ]

    def start_docker(self) -> None:
        """Starts dockerd on the host and waits for it."""
        self.spawn("sh", "-c", "exec dockerd >/var/log/dockerd.log 2>&1", log=self.folder / "dockerd.log")
        end = time.monotonic() + BOOT_S
        while self.run("docker", "version", check=False).returncode:
            if time.monotonic() > end:
                raise LabError(f"dockerd does not come up: {self.read('/var/log/dockerd.log')}")
            time.sleep(0.2)


def _namespace_pids(pid: int) -> list[int]:
    """Returns the process's numbers in its PID namespaces, this machine's first; [] where it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return [int(number) for number in line.split()[1:]]
    return []


def _command(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline")
            .read_bytes()
            .rstrip(b"\0")
            .replace(b"\0", b" ")
            .decode("utf-8", "replace")
        )
    except OSError:
        return ""


def _environment(pid: int) -> dict[str, str]:
    try:
        text = Path(f"/proc/{pid}/environ").read_bytes().decode("utf-8", "replace")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)
