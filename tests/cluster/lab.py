"""A cluster of real hosts on this machine. ``python -m tests.cluster.lab 4`` opens a shell in one."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.cluster import install
from tests.cluster.cgroups import Group
from tests.cluster.machine import Controller, Host, LabError, Machine
from tests.cluster.registry import Registry

REPOSITORY = Path(__file__).resolve().parents[2]
TOP = Path("/run/deepep-lab")
PREFIX = "deepep-lab"
NETWORK = ipaddress.IPv4Network("198.18.0.0/15")
"""For benchmarks of network devices (RFC 2544): never a real network's."""
LABS = 128
GIB = 1 << 30
CAP_SYS_RESOURCE = 24

_SWITCH = """
import os, sys
print("up", flush=True)
sys.stdin.read()
"""


def why_not() -> str | None:
    """Returns why this machine cannot run a lab, None where it can."""
    if platform.system() != "Linux":
        return "the test bed needs Linux"
    if os.geteuid() != 0:
        return "the test bed needs root"
    missing = install.missing()
    if missing:
        return f"the test bed needs the packages {', '.join(missing)}: python -m tests.cluster.install"
    tried = subprocess.run(
        ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--fork", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        return f"this machine allows no namespaces: {tried.stderr.strip()}"
    probe = Group(f"{PREFIX}-probe-{os.getpid()}/x")
    try:
        probe.create()
    except OSError as error:
        return f"control groups cannot be made: {error}"
    finally:
        probe.remove()
        Group(f"{PREFIX}-probe-{os.getpid()}").remove()
    return None


class Lab:
    """Hosts ``node1``.. with a controller and, on request, a jump host and a registry. Use with ``with``.

    ``shared_folders``: folders of this machine that hosts see read-only at the same path (this repository and
    the interpreters always); ``writable_folders``: such as a shared file system. ``users``: names of users
    besides root, and whether they may sudo.
    ``containers``: configures podman and docker on the hosts. ``numbers``: it gets the first that is free.
    Labs do not see each other.
    """

    def __init__(
        self,
        hosts: int = 4,
        *,
        disk_bytes: int = 4 * GIB,
        users: Mapping[str, bool] | None = None,
        jump: bool = False,
        registry: bool = False,
        shared_folders: Sequence[Path] = (),
        writable_folders: Sequence[Path] = (),
        lower: str = "/",
        numbers: Sequence[int] = range(LABS),
    ) -> None:
        remove_leftovers()
        self._number, self._lock = _free_number(numbers)
        self.name = f"{PREFIX}-{self._number}"
        self.folder = TOP / str(self._number)
        self.network = list(NETWORK.subnets(new_prefix=22))[self._number]
        self.group = Group(self.name)
        self.lower = lower
        self.users = dict({"perf": False, "ops": True} if users is None else users)
        self.shared_folders = _shared(shared_folders)
        self.writable_folders = [str(folder) for folder in writable_folders]
        first = self.network.network_address
        files = _container_files()
        self.controller = Controller(self, "ctl", str(first + 1))
        self.registry = Registry(self, "registry", str(first + 2)) if registry else None
        if self.registry is not None:
            files |= self.registry.files_of_hosts()
        self.jump = Host(self, "jump", str(first + 3), disk_bytes, {}) if jump else None
        self.hosts = [
            Host(self, f"node{number}", str(first + 256 + number), disk_bytes, files)
            for number in range(1, hosts + 1)
        ]
        self._switch: subprocess.Popen[str] | None = None

    # -- up and down ------------------------------------------------------------------------------------

    def __enter__(self) -> Lab:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self) -> None:
        """Starts everything and waits until every host answers on its SSH port."""
        try:
            self._up()
        except BaseException:
            self.down()
            raise

    def _up(self) -> None:
        if not (self.folder / "id").exists():
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "id"], check=True
            )
        self._write_files()
        self.group.create()
        self._switch = subprocess.Popen(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--", sys.executable, "-I",
             "-S", "-c", _SWITCH],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=self.group.join,
        )  # fmt: skip
        assert self._switch.stdout is not None
        if self._switch.stdout.readline() != "up\n":
            raise LabError("the switch does not start")
        self.on_switch("ip", "-batch", "-", input="link set lo up\nlink add br0 type bridge\nlink set br0 up")
        machines = self.machines()
        for machine in machines:
            machine.power_on()
        self.plug_in(*machines)
        for machine in machines:
            machine.wait_until_up()
        self.trust()
        if self.registry is not None:
            self.registry.start()

    def down(self) -> None:
        """Ends and removes everything of this lab, and nothing else."""
        for machine in self.machines():
            with contextlib.suppress(Exception):
                machine.clear_link()
        if self._switch is not None:
            # The switch's namespace holds all others: its end is theirs.
            assert self._switch.stdin is not None
            with contextlib.suppress(OSError):
                self._switch.stdin.close()
        self.group.end()
        if self._switch is not None:
            self._switch.wait()
            self._switch = None
        for machine in self.machines():
            machine._pid = None
        self.group.remove()
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def machines(self) -> list[Machine]:
        """Returns everything with a port on the switch."""
        return [*filter(None, [self.controller, self.registry, self.jump]), *self.hosts]

    @property
    def switch_pid(self) -> int:
        """The process whose network is the switch and whose mounts are the disks."""
        assert self._switch is not None
        children = Path(f"/proc/{self._switch.pid}/task/{self._switch.pid}/children").read_text().split()
        return int(children[0])

    # -- network ----------------------------------------------------------------------------------------

    def on_switch(self, *argv: str, input: str | None = None) -> None:
        """Runs a command in the switch's network. Raises LabError."""
        done = subprocess.run(
            ["nsenter", f"--target={self.switch_pid}", "--net", "--", *argv],
            input=input,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LabError(f"{' '.join(argv)}: {done.stderr}")

    def plug_in(self, *machines: Machine) -> None:
        """Connects machines that begin to boot with the switch."""
        lines = []
        for machine in machines:
            machine.find_pid()
            lines += [
                f"link add {machine.port} type veth peer name eth0 address {machine.mac} netns {machine.pid}",
                f"link set {machine.port} master br0 up",
            ]
        self.on_switch("ip", "-batch", "-", input="\n".join(lines))

    @contextlib.contextmanager
    def behind_jump_host(self) -> Iterator[str]:
        """While it lasts the controller reaches the hosts through ``jump`` alone; yields SSH's option."""
        with self.controller.no_way_to(*self.hosts):
            yield "-o ProxyJump=jump"

    # -- SSH and inventories ----------------------------------------------------------------------------

    def _write_files(self) -> None:
        lines = ["127.0.0.1 localhost"]
        lines += [f"{machine.address} {machine.name}" for machine in self.machines()]
        if self.registry is not None:
            lines.append(f"{self.registry.address} registry.lab")
        (self.folder / "hosts").write_text("\n".join(lines) + "\n")
        (self.folder / "known_hosts").touch()
        (self.folder / "ssh_config").write_text(
            f"Host node* jump\n  User root\n  IdentityFile {self.folder}/id\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.folder}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
            "  StrictHostKeyChecking yes\n  ConnectTimeout 10\n"
        )

    def trust(self) -> None:
        """Tells the controller the host keys that the hosts have now."""
        machines = [host for host in filter(None, [self.jump, *self.hosts]) if host.on]
        lines = [f"{host.name},{host.address} {host.host_key()}\n" for host in machines]
        fresh = self.folder / "known_hosts.new"
        fresh.write_text("".join(lines))
        fresh.replace(self.folder / "known_hosts")

    def inventory(
        self,
        path: Path,
        *,
        hosts: Sequence[Host] | None = None,
        groups: Mapping[str, Sequence[Host]] | None = None,
        variables: Mapping[str, Any] | None = None,
        of_host: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Path:
        """Writes an Ansible inventory and returns its path.

        All hosts are in ``GAIA`` and ``standard_nodes`` unless ``groups`` says otherwise; ``variables`` are
        for all, ``of_host`` for some of them.
        """
        chosen = list(hosts if hosts is not None else self.hosts)
        of_group = groups or {"GAIA": chosen, "standard_nodes": chosen}
        content = {
            "all": {
                "hosts": {host.name: dict((of_host or {}).get(host.name, {})) for host in chosen},
                "vars": {"ansible_python_interpreter": "/usr/bin/python3", **(variables or {})},
                "children": {
                    name: {"hosts": {host.name: {} for host in members}} for name, members in of_group.items()
                },
            }
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")
        return path

    # -- between tests ----------------------------------------------------------------------------------

    def repair(self) -> list[str]:
        """Brings every host back to a state as new, where it is not; returns what was wrong."""
        wrong = []
        for host in [*filter(None, [self.jump]), *self.hosts]:
            reason = self._why_unfit(host)
            if reason:
                wrong.append(f"{host.name}: {reason}")
                host.reinstall(trust=True)
            # Of sessions that were killed; what comes now would have to wait until they count as dead.
            shutil.rmtree(host.root("/var/tmp/deepep-leases"), ignore_errors=True)  # noqa: S108
        # Also where the test before left a host with a key that nobody trusts.
        self.trust()
        return wrong

    def _why_unfit(self, host: Host) -> str | None:
        if not host.on:
            return "off"
        with contextlib.suppress(OSError):
            host.freeze(False)
        host.limit_memory(None)
        host.clear_link()
        host.link(up=True)
        host.empty_disk()
        if not host._is_up():
            return "no sshd"
        left = host.of_benchmark()
        if left:
            return f"left running: {', '.join(process.command for process in left)}"
        return None


def _shared(folders: Sequence[Path]) -> list[str]:
    """Returns the folders that hosts must see, though /tmp, /run, /root and other disks are their own."""
    wanted = [REPOSITORY, Path(sys.prefix), Path(sys.base_prefix), *folders]
    wanted += [path.resolve() for path in wanted]
    torch = REPOSITORY / ".venv-torch"
    if torch.exists():
        wanted.append(torch.resolve())
    found: list[str] = []
    for path in sorted(set(map(str, wanted)), key=len):
        if path.startswith(("/usr/", "/bin", "/lib")) or path == "/usr":
            continue
        if not any(path == one or path.startswith(one + "/") for one in found):
            found.append(path)
    return found


def _container_files() -> dict[str, str]:
    """Returns what containers need on hosts whose root may not raise limits (see oci_runtime.py)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:") and int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1:
            return {}
    runtime = "/usr/local/bin/oci-runtime-without-limits"
    return {
        runtime: Path(__file__).with_name("oci_runtime.py").read_text(),
        "/etc/containers/containers.conf.d/lab.conf": (
            f'[engine]\nruntime = "lab"\n[engine.runtimes]\nlab = ["{runtime}"]\n'
        ),
        "/etc/docker/daemon.json": json.dumps(
            {"runtimes": {"lab": {"path": runtime}}, "default-runtime": "lab"}
        ),
    }


def _free_number(numbers: Sequence[int]) -> tuple[int, int]:
    """Returns the first of these numbers that no lab has, and the lock that keeps it."""
    TOP.mkdir(mode=0o755, exist_ok=True)
    for number in numbers:
        handle = _lock(number)
        if handle is not None:
            (TOP / str(number)).mkdir(exist_ok=True)
            return number, handle
    raise LabError(f"{len(numbers)} labs are up already")


def _lock(number: int) -> int | None:
    handle = os.open(TOP / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def remove_leftovers() -> None:
    """Removes labs whose owner was killed: known by a lock that nobody holds any more."""
    if not TOP.is_dir():
        return
    for folder in TOP.iterdir():
        if not folder.name.isdigit():
            continue
        handle = _lock(int(folder.name))
        if handle is None:
            continue
        try:
            group = Group(f"{PREFIX}-{folder.name}")
            group.end()
            group.remove()
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)


def main(arguments: Sequence[str]) -> int:
    """Brings a lab up, opens a shell on its controller, takes it down after."""
    reason = why_not()
    if reason:
        print(reason, file=sys.stderr)
        return 1
    begun = time.monotonic()
    with Lab(int(arguments[0]) if arguments else 4, jump=True, registry=True) as lab:
        inventory = lab.inventory(lab.folder / "inventory.yml")
        print(f"{len(lab.hosts)} hosts in {time.monotonic() - begun:.1f} s; inventory: {inventory}")
        command = arguments[1:] or ["bash", "-i"]
        return lab.controller.popen(*command, env={"PS1": f"{lab.name}# "}).wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
