"""Inside a lab: brings one machine up. ``host_init.py disk|boot SPEC`` (JSON), started by ``machine.py``.

``disk`` runs in the lab's mount namespace, so that a disk outlives its host, and goes on as ``boot`` in
namespaces of the machine's own. ``boot`` ends as its first process. Standard library only, in one process:
32 of these start at once.
"""

import ctypes
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 1, 32, 4096, 16384, 1 << 18, 2
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

SSHD_CONFIG = """HostKey /etc/ssh/ssh_host_ed25519_key
UsePAM no
UseDNS no
PermitRootLogin prohibit-password
PasswordAuthentication no
MaxStartups 200
MaxSessions 64
"""


def mount(source: str, target: "str | Path", kind: str = "", flags: int = 0, options: str = "") -> None:
    """The mount system call; raises OSError."""
    arguments = [source.encode(), str(target).encode(), kind.encode(), flags, options.encode()]
    if LIBC.mount(arguments[0], arguments[1], arguments[2], ctypes.c_ulong(flags), arguments[4]):
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} {kind} {options}: {os.strerror(number)}", str(target))


def bind(source: "str | Path", target: "str | Path", read_only: bool = False) -> None:
    """A bind mount; makes the target."""
    target = Path(target)
    if Path(source).is_dir():
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount(str(source), target, flags=MS_BIND | MS_REC)
    if read_only:
        mount("", target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def disk(spec: "dict[str, Any]") -> None:
    """Makes the disk unless it is there, then becomes ``boot`` in new namespaces."""
    folder = Path(spec["disk"])
    if spec["fresh"] and os.path.ismount(folder):
        LIBC.umount2(str(folder).encode(), MNT_DETACH)
    if not os.path.ismount(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # An overlay's upper layer must not lie below its lower one.
        mount("tmpfs", folder, "tmpfs", options=f"mode=755,size={spec['disk_bytes']}")
    namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
    os.execvp(
        "unshare",
        ["unshare", *namespaces, "--fork", "--kill-child", "--", sys.executable, "-I", "-S", __file__, "boot",
         json.dumps(spec)],
    )  # fmt: skip


def boot(spec: "dict[str, Any]") -> None:
    """Root file system, network, services; ends as tini."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    socket.sethostname(spec["name"])
    if spec["own_root"]:
        own_root(spec)
    else:
        for source, target in spec["binds"]:
            bind(source, target)
        for folder in spec["covers"]:
            mount("tmpfs", folder, "tmpfs", options="mode=700")
    network(spec)
    os.environ.clear()
    os.environ.update(PATH=PATH, HOME="/root")
    if spec["own_root"]:
        start_sshd()
    os.execvp("tini", ["tini", "--", "sleep", "infinity"])


def start_sshd() -> None:
    """Starts sshd in the background."""
    with Path("/var/log/sshd.log").open("ab") as log:
        subprocess.Popen(["/usr/sbin/sshd", "-D", "-e"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                         start_new_session=True)  # fmt: skip


def own_root(spec: "dict[str, Any]") -> None:
    """Overlays this machine's root with the host's disk and moves there."""
    base = Path(spec["disk"])
    for name in ("upper", "work", "root", "home", "vartmp"):
        (base / name).mkdir(exist_ok=True)
    root = base / "root"
    mount("overlay", root, "overlay",
          options=f"lowerdir={spec['lower']},upperdir={base}/upper,workdir={base}/work")  # fmt: skip
    for folder in ("tmp", "run", "var/lib/containers", "var/lib/docker"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        mount("tmpfs", root / folder, "tmpfs", options="mode=1777" if folder.endswith("tmp") else "mode=755")
    mount("proc", root / "proc", "proc")
    mount("sysfs", root / "sys", "sysfs")
    control_groups(root)
    devices(root)
    # A user's own home has keys, passwords and settings that no test host may see.
    (base / "home").chmod(0o700)
    bind(base / "home", root / "root")
    (base / "vartmp").chmod(0o1777)
    bind(base / "vartmp", root / "var" / "tmp")
    for path in spec["binds"]:
        bind(path, str(root) + path, read_only=True)
    for path in spec["writable"]:
        bind(path, str(root) + path)
    identity(spec, base, root)
    os.chdir(root)
    old = root / ".old"
    old.mkdir(exist_ok=True)
    if LIBC.syscall(SYS_PIVOT_ROOT[os.uname().machine], b".", b".old"):
        raise OSError(ctypes.get_errno(), "pivot_root")
    os.chdir("/")
    LIBC.umount2(b"/.old", MNT_DETACH)
    Path("/.old").rmdir()
    # Every boot of a real machine has an id of its own; all these hosts share one kernel's.
    Path("/run/boot_id").write_text(f"{uuid.uuid4()}\n")
    bind("/run/boot_id", "/proc/sys/kernel/random/boot_id")


def control_groups(root: Path) -> None:
    """The host's own view of its groups, for container managers."""
    top = root / "sys" / "fs" / "cgroup"
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        mount("cgroup2", top, "cgroup2")
        # A group that has processes can hand no controllers down.
        (top / "init").mkdir(exist_ok=True)
        for pid in (top / "cgroup.procs").read_text().split():
            try:
                (top / "init" / "cgroup.procs").write_text(pid)
            except OSError:
                continue
        return
    mount("tmpfs", top, "tmpfs", options="mode=755")
    for line in Path("/proc/cgroups").read_text().splitlines()[1:]:
        name, hierarchy, _, enabled = line.split()
        if enabled == "1" and hierarchy != "0":
            (top / name).mkdir()
            mount("cgroup", top / name, "cgroup", options=name)
    (top / "systemd").mkdir()
    try:
        mount("cgroup", top / "systemd", "cgroup", options="none,name=systemd")
    except OSError:
        (top / "systemd").rmdir()


def devices(root: Path) -> None:
    """A /dev with what programs and container managers need, and nothing of this machine's disks."""
    dev = root / "dev"
    mount("tmpfs", dev, "tmpfs", options="mode=755")
    for name in ("null", "zero", "full", "random", "urandom", "tty", "fuse", "kmsg", "net/tun"):
        try:
            found = Path(f"/dev/{name}").stat()
        except OSError:
            continue
        (dev / name).parent.mkdir(exist_ok=True)
        os.mknod(dev / name, stat.S_IFCHR | 0o666, found.st_rdev)
        (dev / name).chmod(0o666)
    for name in ("pts", "shm", "mqueue"):
        (dev / name).mkdir()
    mount("devpts", dev / "pts", "devpts", options="newinstance,ptmxmode=0666,mode=620,gid=5")
    mount("tmpfs", dev / "shm", "tmpfs", options="mode=1777")
    for name, target in (
        ("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2"),
    ):  # fmt: skip
        (dev / name).symlink_to(target)


def identity(spec: "dict[str, Any]", base: Path, root: Path) -> None:
    """Name, keys, users and configuration; done once in the life of a disk."""
    etc = root / "etc"
    if (base / "installed").exists():
        return
    (etc / "hostname").write_text(spec["name"] + "\n")
    shutil.copy(spec["hosts_file"], etc / "hosts")
    for name, text in (("resolv.conf", ""), ("machine-id", uuid.uuid4().hex + "\n")):
        (etc / name).unlink(missing_ok=True)
        (etc / name).write_text(text)
    for old in (etc / "ssh").glob("ssh_host_*"):
        old.unlink()
    for old in (etc / "ssh" / "sshd_config.d").glob("*"):
        old.unlink()
    key = etc / "ssh" / "ssh_host_ed25519_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", spec["name"], "-f", key], check=True)
    shutil.copy(f"{key}.pub", base / "hostkey.pub")
    (etc / "ssh" / "sshd_config").write_text(SSHD_CONFIG + "Subsystem sftp internal-sftp\n")
    authorize(root / "root", spec["public_key"], 0, 0)
    for number, (user, sudo) in enumerate(spec["users"].items(), 4001):
        with (etc / "passwd").open("a") as file:
            file.write(f"{user}:x:{number}:{number}::/home/{user}:/bin/bash\n")
        with (etc / "group").open("a") as file:
            file.write(f"{user}:x:{number}:\n")
        with (etc / "shadow").open("a") as file:
            file.write(f"{user}:*:20000:0:99999:7:::\n")
        home = root / "home" / user
        home.mkdir(parents=True)
        home.chmod(0o750)
        os.chown(home, number, number)
        authorize(home, spec["public_key"], number, number)
        if sudo:
            (etc / "sudoers.d" / user).write_text(f"{user} ALL=(ALL:ALL) NOPASSWD: ALL\n")
            (etc / "sudoers.d" / user).chmod(0o440)
    for path, text in spec["files"].items():
        target = Path(str(root) + path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    for path in spec["executables"]:
        Path(str(root) + path).chmod(0o755)
    (base / "installed").touch()


def authorize(home: Path, public_key: str, uid: int, gid: int) -> None:
    """Lets the lab's key log in there."""
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    (folder / "authorized_keys").write_text(public_key)
    for path in (folder, folder / "authorized_keys"):
        os.chown(path, uid, gid)


def network(spec: "dict[str, Any]") -> None:
    """Waits for the cable, then sets the address."""
    end = time.monotonic() + 30
    while "eth0:" not in Path("/proc/self/net/dev").read_text():
        if time.monotonic() > end:
            sys.exit("no eth0 within 30 s")
        time.sleep(0.01)
    lines = ["link set lo up", f"addr add {spec['address']} dev eth0", "link set eth0 up"]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines).encode(), check=True)
    if spec["own_root"]:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


if __name__ == "__main__":
    {"disk": disk, "boot": boot}[sys.argv[1]](json.loads(sys.argv[2]))
