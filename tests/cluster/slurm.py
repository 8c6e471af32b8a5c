"""A real Slurm on the test bed: slurmctld, slurmdbd and MariaDB on the login host, slurmd on the others."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.cluster.cgroups import unified
from tests.cluster.lab import Lab
from tests.cluster.machine import Host, LabError

GPUS = 8
STATE = "/var/lib/deepep-slurm"

_CONF = """ClusterName=lab
SlurmctldHost={login}({address})
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation={state}/state
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile=/var/log/slurmd.log
ProctrackType=proctrack/linuxproc
{memory}
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
ReturnToService=2
SlurmdTimeout=20
KillWait=15
SchedulerParameters=sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
GresTypes=gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
RebootProgram=/bin/true
ResumeTimeout=10
JobCompType=jobcomp/filetxt
JobCompLoc={state}/jobcomp.log
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
{accounting}
NodeName={nodes} CPUs=8 RealMemory=2000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=batch Nodes={nodes} Default=YES MaxTime=60 State=UP PriorityTier=1
PartitionName=urgent Nodes={nodes} MaxTime=60 State=UP PriorityTier=2 PreemptMode=OFF
PartitionName=short Nodes={nodes} MaxTime=1 State=UP PriorityTier=1
"""

_MEMORY = (
    "TaskPlugin=task/none\nJobAcctGatherParams=OverMemoryKill" if unified() else "TaskPlugin=task/cgroup"
)
"""What holds a job to its memory. A host of the lab has no systemd, which Slurm needs for cgroup v2."""

_CGROUP = "CgroupAutomount=no\nConstrainRAMSpace=yes\n"

_NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
_ACCOUNTING = """AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={login}
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations"""

_DBD = """AuthType=auth/munge
DbdHost={login}
SlurmUser=root
LogFile={state}/slurmdbd.log
PidFile=/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=x
StorageLoc=slurm_acct_db
"""


class SlurmLab:
    """``hosts`` are compute hosts, ``login`` submits and runs Slurm's services. Use with ``with``.

    In the inventory they are ``gaia-1``... and ``front``: names differ from Slurm's on purpose. ``shared`` is
    a folder that all hosts share; tests that do without simply do not name it.
    """

    def __init__(self, hosts: int = 4, **options: Any) -> None:
        self.shared = Path(tempfile.mkdtemp(prefix="deepep-slurm-"))
        self.shared.chmod(0o1777)
        self.lab = Lab(hosts + 1, writable_folders=[self.shared], **options)
        self.hosts: list[Host] = self.lab.hosts[:-1]
        self.login: Host = self.lab.hosts[-1]

    def __enter__(self) -> SlurmLab:
        try:
            self.lab.up()
            self._up()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lab.down()
        shutil.rmtree(self.shared, ignore_errors=True)

    # -- up ---------------------------------------------------------------------------------------------

    def _up(self) -> None:
        self._configure(self.login)
        self._start_accounting()
        self.login.run("slurmctld")
        for host in self.hosts:
            self.start_node(host)
        self.until(lambda: self.idle() == len(self.hosts), "all nodes idle")

    def _conf(self, accounting: str) -> str:
        names = {"login": self.login.name, "address": self.login.address, "state": STATE,
                 "nodes": f"node[1-{len(self.hosts)}]", "gpus": GPUS, "memory": _MEMORY}  # fmt: skip
        return _CONF.format(accounting=accounting.format(**names), **names)

    def _configure(self, host: Host) -> None:
        nodes = f"node[1-{len(self.hosts)}]"
        files = {
            "slurm.conf": self._conf(_ACCOUNTING),
            "gres.conf": f"NodeName={nodes} Name=gpu File=/dev/nvidia[0-{GPUS - 1}]\n",
            "cgroup.conf": _CGROUP,
        }
        host.run("mkdir", "-p", "/etc/slurm", f"{STATE}/state", "/var/spool/slurmd")
        for name, text in files.items():
            host.root(f"/etc/slurm/{name}").write_text(text)
        host.run(
            "sh", "-c",
            "install -d -o munge -g munge /run/munge /var/log/munge /var/lib/munge; "
            "pgrep -x munged || setpriv --reuid=munge --regid=munge --clear-groups munged",
        )  # fmt: skip

    def _start_accounting(self) -> None:
        login = self.login
        dbd = login.root("/etc/slurm/slurmdbd.conf")
        dbd.write_text(_DBD.format(login=login.name, state=STATE))
        dbd.chmod(0o600)
        data = f"{STATE}/db"
        login.run("install", "-d", "-o", "mysql", "-g", "mysql", "/run/mysqld", data)
        login.run("mariadb-install-db", "--user=mysql", f"--datadir={data}", "--skip-test-db")
        login.popen(
            "mariadbd", "--user=mysql", f"--datadir={data}", "--skip-networking",
            "--socket=/run/mysqld/mysqld.sock", "--innodb-buffer-pool-size=64M",
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        self.until(lambda: self._succeeds("mariadb-admin", "ping"), "MariaDB")
        login.run("mariadb", input=(
            "create database slurm_acct_db; create user slurm@localhost identified by 'x'; "
            "grant all on slurm_acct_db.* to slurm@localhost;"
        ))  # fmt: skip
        login.run("slurmdbd")
        self.until(lambda: self._succeeds("sacctmgr", "-n", "list", "cluster"), "slurmdbd")
        for words in (["cluster", "lab"], ["account", "team"], ["user", "root", "account=team"]):
            login.run("sacctmgr", "-i", "add", *words, check=False)

    def _succeeds(self, *argv: str) -> bool:
        return self.login.run(*argv, check=False).returncode == 0

    def start_node(self, host: Host) -> None:
        """Starts slurmd on a host that was just booted."""
        self._configure(host)
        host.run(
            "sh", "-c",
            f"for g in $(seq 0 {GPUS - 1}); do [ -e /dev/nvidia$g ] || mknod /dev/nvidia$g c 1 3; done; "
            "pgrep -x slurmd || slurmd",
        )  # fmt: skip

    # -- use --------------------------------------------------------------------------------------------

    def inventory(
        self, path: Path, of_host: Mapping[str, Mapping[str, Any]] | None = None, **variables: Any
    ) -> Path:
        """Writes an inventory with the launcher slurm; ``variables`` are for all hosts, None removes one."""
        names = {
            f"gaia-{number}": {"deepep_slurm_node": host.name, **(of_host or {}).get(f"gaia-{number}", {})}
            for number, host in enumerate(self.hosts, 1)
        }
        of_all: Mapping[str, Any] = {
            "ansible_python_interpreter": "/usr/bin/python3",
            "deepep_launcher": "slurm",
            "deepep_slurm_login": "front",
            "deepep_slurm_partition": "batch",
            "deepep_slurm_host_python": "/usr/bin/python3",
            "deepep_slurm_shared_dir": str(self.shared),
            "deepep_slurm_poll_s": 1,
            "deepep_container_runtime": "none",
            "deepep_backend": "gloo",
            "deepep_gpus_per_node": 1,
            **variables,
        }
        content = {"all": {
            "hosts": {"front": {"ansible_host": self.login.name}},
            "vars": {name: value for name, value in of_all.items() if value is not None},
            "children": {group: {"hosts": names} for group in ("GAIA", "standard_nodes")},
        }}  # fmt: skip
        path.write_text(json.dumps(content, indent=1) + "\n")
        return path

    def jobs(self, *states: str) -> list[list[str]]:
        """Returns id, state, reason and comment of the jobs in the queue."""
        wanted = [f"--states={','.join(states)}"] if states else []
        out = self.login.run("squeue", "--noheader", "--format=%A|%T|%r|%k", *wanted).stdout
        return [line.split("|") for line in out.splitlines()]

    def idle(self) -> int:
        """Returns how many nodes are idle."""
        done = self.login.run("sinfo", "-h", "-p", "batch", "-t", "idle", "-o", "%D", check=False)
        return int(done.stdout.strip() or 0) if done.returncode == 0 else 0

    def until(self, condition: Callable[[], bool], what: str, limit_s: float = 120) -> None:
        """Waits for a condition; the limit only keeps a broken lab from hanging."""
        end = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > end:
                raise LabError(f"never came: {what}")
            time.sleep(0.1)

    def stop_controller(self) -> None:
        """Ends slurmctld, as an upgrade does."""
        self.login.run("pkill", "-x", "slurmctld")
        self.until(lambda: self.login.run("pgrep", "-x", "slurmctld", check=False).returncode != 0, "its end")

    def start_controller(self, *options: str) -> None:
        """Starts slurmctld again; with ``-c`` it has forgotten every job."""
        self.login.run("slurmctld", *options)
        self.until(lambda: self._succeeds("squeue", "--noheader"), "slurmctld")

    @contextlib.contextmanager
    def without_accounting(self) -> Iterator[None]:
        """While it lasts the cluster is one that has no slurmdbd: sacct says so, jobs are in no database."""
        self._restart(_NO_ACCOUNTING)
        try:
            yield
        finally:
            self._restart(_ACCOUNTING)

    def _restart(self, accounting: str) -> None:
        self.stop_controller()
        self.login.root("/etc/slurm/slurm.conf").write_text(self._conf(accounting))
        self.start_controller()

    def repair(self, keep_disks: bool = False) -> None:
        """Empties the queue and brings every host back, as new unless ``keep_disks`` says otherwise."""
        if self.login.run("pgrep", "-x", "slurmctld", check=False).returncode != 0:
            self.start_controller()
        with contextlib.suppress(LabError):
            self.login.run("scancel", "--user=root")
        for host in self.hosts:
            if not host.on:
                host.boot(fresh=not keep_disks)
            host.empty_disk()
            host.run("rm", "-f", "/var/spool/slurmd/full")
            self.start_node(host)
        self.until(lambda: not self.jobs(), "an empty queue")
        if self.idle() != len(self.hosts):
            self.login.run(
                "scontrol", "update", f"nodename=node[1-{len(self.hosts)}]", "state=resume", check=False
            )
        self.until(lambda: self.idle() == len(self.hosts), "all nodes idle")


def stand_in(folder: Path) -> Path:
    """Writes a stand-in for an interpreter that has torch: it does what STAND_IN (shell text) says."""
    path = folder / "stand_in_python.sh"
    path.write_text('#!/bin/bash\n[ "$1" != -c ] || exit 1\neval "$STAND_IN"\n')
    path.chmod(0o755)
    return path


__all__: Sequence[str] = ("GPUS", "SlurmLab", "stand_in")
