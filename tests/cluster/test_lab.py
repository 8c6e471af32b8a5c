"""The test bed itself: what other tests do to hosts really happens to them, and to nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster import lab as lab_module
from tests.cluster.cgroups import Group, hierarchies
from tests.cluster.conftest import need_lab
from tests.cluster.lab import REPOSITORY, Lab
from tests.cluster.machine import LabError

pytestmark = pytest.mark.cluster

FAR = range(lab_module.LABS - 1 - os.getpid() % 32, lab_module.LABS // 2, -1)
"""Numbers of labs that nobody else takes as soon as they are free: others begin at 0."""


def ssh(lab: Lab, host: str, *command: str, options: tuple[str, ...] = ()) -> str:
    """Returns the output of a command over SSH, from the controller; raises LabError."""
    return lab.controller.run(
        "ssh", "-o", "BatchMode=yes", *options, host, *command, check=True
    ).stdout.strip()


def test_hosts_are_hosts_of_their_own(lab: Lab) -> None:
    one, two = lab.hosts[:2]
    assert ssh(lab, "node1", "hostname; id -un") == "node1\nroot"
    assert one.host_key() != two.host_key()
    ssh(lab, "node1", "touch /var/mine /tmp/mine; echo theirs > /etc/hostname")
    assert one.exists("/var/mine")
    assert not two.exists("/var/mine")
    assert not Path("/var/mine").exists()
    sleeper = one.popen("sleep", "1234")
    while [process.command for process in one.processes("sleep 1234")] != ["sleep 1234"]:
        assert sleeper.poll() is None
        time.sleep(0.01)
    assert not two.processes("sleep 1234")
    assert "sleep 1234" not in ssh(lab, "node2", "ps aux")
    sleeper.kill()
    sleeper.wait()
    assert not one.exists("/root/.bashrc"), "hosts see nothing of this machine's home"
    # What belongs to everyone's tests is visible at its own path.
    assert ssh(lab, "node2", f"test -f {REPOSITORY}/pyproject.toml && echo yes") == "yes"


def test_users_and_the_jump_host(lab: Lab) -> None:
    assert ssh(lab, "perf@node1", "id -un") == "perf"
    assert ssh(lab, "ops@node1", "sudo -n id -un") == "root"
    with pytest.raises(LabError):
        ssh(lab, "perf@node1", "sudo -n id -un")
    with lab.behind_jump_host() as option:
        with pytest.raises(LabError, match="No route"):
            ssh(lab, "node2", "true")
        assert ssh(lab, "node2", "hostname", options=tuple(option.split())) == "node2"
    assert ssh(lab, "node2", "hostname") == "node2"


def test_power_loss_keeps_the_disk_and_reinstalling_does_not(lab: Lab) -> None:
    host = lab.hosts[2]
    ssh(lab, "node3", "echo kept > /var/kept; (sleep 4321 &) >/dev/null 2>&1 </dev/null")
    boot, key = host.read("/proc/sys/kernel/random/boot_id"), host.host_key()
    host.power_off()
    assert not host.on
    assert host.group.processes() == []
    host.boot()
    assert ssh(lab, "node3", "cat /var/kept") == "kept"
    assert host.read("/proc/sys/kernel/random/boot_id") != boot
    assert host.host_key() == key
    host.reinstall()
    assert host.host_key() != key
    with pytest.raises(LabError, match="REMOTE HOST IDENTIFICATION HAS CHANGED"):
        ssh(lab, "node3", "true")
    lab.trust()
    assert ssh(lab, "node3", "ls /var/kept 2>&1 || echo gone").endswith("gone")


def test_links_break_slow_down_and_lose(lab: Lab) -> None:
    host = lab.hosts[3]

    def ping_ms(count: int = 3) -> list[float]:
        answer = lab.controller.run(
            sys.executable, "-c", PING, host.address, str(count), check=True, timeout=60
        )
        return [float(word) for word in answer.stdout.split()]

    assert len(ping_ms()) == 3
    host.link(up=False)
    assert ping_ms() == []
    host.link(up=True)
    host.disturb(delay_ms=50)
    assert min(ping_ms()) >= 100
    host.disturb(loss=0.5)
    # Half of the questions and half of the answers: all of 30 arrive once in 10^18 times.
    assert len(ping_ms(30)) < 30
    host.clear_link()
    # What the relay still held may fill the first ones' time.
    end = time.monotonic() + 60
    while not ping_ms(1) and time.monotonic() < end:
        pass
    assert len(ping_ms(30)) == 30


PING = """
import socket, sys, time
# A TCP handshake with the discard port: refused at once by a host that is there.
for _ in range(int(sys.argv[2])):
    begun = time.monotonic()
    with socket.socket() as one:
        one.settimeout(0.3)
        try:
            one.connect((sys.argv[1], 9))
        except ConnectionRefusedError:
            print((time.monotonic() - begun) * 1e3)
        except OSError:
            pass
"""


def test_disk_memory_and_freezing(lab: Lab) -> None:
    host = lab.hosts[0]
    host.fill_disk(leave_bytes=1 << 20)
    with pytest.raises(LabError, match="No space left"):
        ssh(lab, "node1", "dd if=/dev/zero of=/var/large bs=1M count=8")
    assert lab.hosts[1].run("dd", "if=/dev/zero", "of=/var/large", "bs=1M", "count=8").returncode == 0
    host.empty_disk()
    host.limit_memory(256 << 20)
    eaten = host.run("/usr/bin/python3", "-c", "x = b'1' * (1 << 30)", check=False)
    assert eaten.returncode == -signal.SIGKILL or eaten.returncode == 137
    host.limit_memory(None)
    host.freeze()
    with pytest.raises(subprocess.TimeoutExpired):
        lab.controller.run("ssh", "node1", "true", timeout=3)
    host.freeze(False)
    assert ssh(lab, "node1", "hostname") == "node1"
    host.kill_sshd()
    with pytest.raises(LabError, match="refused"):
        ssh(lab, "node1", "true")
    host.start_sshd()
    assert ssh(lab, "node1", "hostname") == "node1"


def test_repair_tells_what_was_wrong(lab: Lab) -> None:
    lab.hosts[0].power_off()
    left = lab.hosts[1].popen("sleep", "99", env={"DEEPEP_RUN_ID": "x"})
    lab.hosts[2].link(up=False)
    wrong = lab.repair()
    assert [line.split(":")[0] for line in wrong] == ["node1", "node2"]
    assert "sleep 99" in wrong[1]
    left.wait(30)
    for host in lab.hosts:
        assert ssh(lab, host.name, "hostname") == host.name


def test_registry_wants_credentials_and_counts(lab: Lab, tmp_path: Path) -> None:
    registry = lab.registry
    assert registry is not None
    (tmp_path / "layout").mkdir()
    before = registry.position()
    refused = lab.hosts[0].run("skopeo", "inspect", f"docker://{registry.NAME}/team/none:1", check=False)
    assert "unauthorized" in refused.stderr or "authentication required" in refused.stderr
    seen = registry.requests(before)
    assert seen and {request.status for request in seen} == {401}
    assert {request.address for request in seen} == {lab.hosts[0].address}


def test_a_killed_owner_leaves_nothing(tmp_path: Path) -> None:
    need_lab()
    script = (
        "import time; from tests.cluster.lab import Lab\n"
        f"lab = Lab(1, numbers={list(FAR)}); lab.up(); print(lab.name, flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    name = owner.stdout.readline().strip()
    group = Group(name)
    assert group.processes()
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    end = time.monotonic() + 120
    while group.processes() and time.monotonic() < end:
        time.sleep(0.05)
    assert not group.processes(), "hosts outlive their owner"
    places = [lab_module.TOP / name.rsplit("-", 1)[1], *(top / name for top in hierarchies())]
    # Whoever makes a lab at the same time removes it too, and holds its lock meanwhile.
    while (left := [place for place in places if place.exists()]) and time.monotonic() < end:
        lab_module.remove_leftovers()
        time.sleep(0.05)
    assert not left


def test_two_labs_do_not_meet(lab: Lab) -> None:
    with Lab(1, numbers=FAR) as other:
        assert other.name != lab.name
        assert other.hosts[0].address != lab.hosts[0].address
        assert ssh(other, "node1", "hostname") == "node1"
        reached = other.controller.run(
            sys.executable, "-c", PING, lab.hosts[0].address, "1", check=True, timeout=60
        )
        assert reached.stdout == ""
        folder = other.folder
    assert not folder.exists()
    assert lab.folder.exists()
