"""From a run's part of the plan to its container: command lines for docker, podman and enroot, as data.

The container is an empty frame around ``enter.py`` (:mod:`deepep_host.inside`), which reads the program's
command and environment from the run's directory. So no value stands in a command line, values with newlines
survive, and the scenario's variables win over the image's whatever the runtime.
"""

from __future__ import annotations

import hashlib
import os
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import engine
from .container_defaults import Default, chosen, devices
from .engine import ENGINES, ContainerError, Found
from .files import host_name, read_json, write_json, write_text
from .launch import LaunchError, expand_argv

PYTHON = "python3"
"""The interpreter in the container, from the image's search path, unless deepep_python names one."""

_HOOKS_READ = ("NVIDIA_", "MELLANOX_")
"""Variables that the runtimes' GPU and NIC hooks read when the container is made, before ``enter.py``."""

_CAP_SYS_RESOURCE = 24

_ENTER_RC = """\
# In place of the image's /etc/rc: its working directory, as enroot import wrote it, and no entry point.
if [ -r /etc/rc ]; then
    while IFS= read -r line; do
        case $line in 'cd "'*) eval "$line"; break ;; esac
    done </etc/rc
fi
exec "$@"
"""


class Mount(NamedTuple):
    """A bind mount."""

    source: str
    target: str
    read_only: bool
    folder: bool = True
    """Whether the source is a directory; it need not be there yet."""


class Image(NamedTuple):
    """What staging left on this host for one image of the plan (``images.json``)."""

    reference: str
    id: str
    digest: str | None


def staged_image(base: Path, reference: str, runtime: str) -> Image:
    """Returns the image that was staged for this session. Raises LaunchError where there is none."""
    entry = (read_json(base / "images.json") or {}).get(reference)
    if not isinstance(entry, dict) or not entry.get("id"):
        raise LaunchError(f"image {reference} was not staged on this host: see its staging above")
    if entry.get("runtime") != runtime:
        raise LaunchError(
            f"image {reference} was staged for {entry.get('runtime')}, and the run needs {runtime}"
        )
    return Image(reference, str(entry["id"]), entry.get("digest"))


def labels(work_dir: Path, host: str, run_id: str | None = None, run: str | None = None) -> dict[str, str]:
    """Returns the labels by which containers are found again: of a run, a session, or all of this host.

    The work directory is one of them: another user's host of the same name is none of ours.
    """
    wanted = {"deepep.work_dir": str(work_dir), "deepep.host": host, "deepep.run_id": run_id,
              "deepep.run": run}  # fmt: skip
    return {name: value for name, value in wanted.items() if value is not None}


def container_name(run_id: str, host: str, run: str) -> str:
    """Returns the name of a run's container; for people, never for finding it."""
    return f"deepep-{run_id}-{hashlib.sha256(f'{host}/{run}'.encode()).hexdigest()[:8]}"


def describe(
    plan: Mapping[str, Any],
    spec: Mapping[str, Any],
    base: Path,
    folder: Path,
    work_dir: Path,
    python: str,
    jit_cache_dir: str,
    variables: Mapping[str, str],
    marks: Mapping[str, str],
    root: str = "/",
) -> dict[str, Any]:
    """Returns the part ``container`` of launch.json: everything that is needed to make and start it.

    ``base`` is the session's directory on this host, ``folder`` the run's, ``python`` the interpreter in the
    container. Raises LaunchError for what this host cannot start. ``root`` is for tests.
    """
    runtime, wanted = spec["container_runtime"], spec["container"]
    image = staged_image(base, spec["image"], runtime)
    rows = chosen(bool(wanted["privileged"]), tuple(wanted["without"]), devices(root))
    jit_cache = _jit_cache(rows, image, work_dir, jit_cache_dir)
    mounts = [
        Mount(str(folder), str(folder), False),
        Mount(str(base / "program"), str(base / "program"), True),
        *([Mount(jit_cache, jit_cache, False)] if jit_cache else []),
        *(parse_mount(text) for text in expand_argv(spec["mounts"], variables)),
    ]
    frame = _Frame(
        runtime=runtime,
        image=image,
        name=container_name(plan["run_id"], plan["host"], spec["id"]),
        labels=labels(work_dir, plan["host"], plan["run_id"], spec["id"]),
        python=python,
        entrypoint=bool(wanted["entrypoint"]),
        rows=rows,
        mounts=mounts,
        options=list(wanted["options"]),
        workdir=str(folder) if spec["program"] == "bundled" else None,
        base=base,
        folder=folder,
        env={**{name: text for name, text in spec["env"].items() if name.startswith(_HOOKS_READ)}, **marks},
    )
    made = frame.enroot() if runtime == "enroot" else frame.engine()
    return {
        "runtime": runtime,
        "image": image.reference,
        "image_id": image.id,
        "digest": image.digest,
        "name": frame.name,
        "labels": frame.labels,
        "python": python,
        "work_dir": str(work_dir),
        "directories": [jit_cache] if jit_cache else [],
        "defaults_env": {"EP_JIT_CACHE_DIR": jit_cache} if jit_cache else {},
        **made,
    }


def parse_mount(text: str) -> Mount:
    """Returns ``source:target[:ro|:rw]`` in parts; only the source may hold a colon. Raises LaunchError."""
    rest, read_only = text, False
    if text.endswith((":ro", ":rw")):
        rest, read_only = text[:-3], text.endswith(":ro")
    source, colon, target = rest.rpartition(":")
    if not colon or not source.startswith("/") or not target.startswith("/"):
        raise LaunchError(f"{text!r} is no mount: write /source:/target, with :ro for read-only")
    try:
        os.lstat(source)
    except FileNotFoundError:
        raise LaunchError(
            f"the mount's source {source} does not exist on this host: create it, or change "
            "extra_container_mounts or deepep_container_mounts"
        ) from None
    except OSError:
        # The runtime may see what this user does not.
        return Mount(source, target, read_only)
    return Mount(source, target, read_only, Path(source).is_dir())


def _jit_cache(rows: Sequence[Default], image: Image, work_dir: Path, configured: str) -> str:
    """Returns the directory for this image's compiled kernels; empty where it is not wanted."""
    if not any(row.name == "jit_cache" for row in rows):
        return ""
    # DeepEP's own key holds the architecture, but not what a kernel includes: one directory per image.
    key = hashlib.sha256(f"{image.digest}|{image.id}".encode()).hexdigest()[:16]
    return str((Path(configured) if configured else work_dir / "jit") / key)


class _Frame(NamedTuple):
    """What the command lines are made of."""

    runtime: str
    image: Image
    name: str
    labels: dict[str, str]
    python: str
    entrypoint: bool
    rows: tuple[Default, ...]
    mounts: list[Mount]
    options: list[str]
    workdir: str | None
    base: Path
    folder: Path
    env: dict[str, str]

    def _enter(self) -> list[str]:
        return [str(self.base / "program" / "enter.py"), str(self.folder)]

    # ---- docker, podman ----

    def engine(self) -> dict[str, Any]:
        """Returns ``create`` (its last line of output is the id) and the environment of the client."""
        defaults = [option for row in self.rows for option in getattr(row, self.runtime)]
        if self.runtime == "podman":
            defaults = [within_limits(option) for option in defaults]
        create = [
            self.runtime,
            "create",
            f"--name={self.name}",
            *(f"--label={name}={value}" for name, value in self.labels.items()),
            # Staging brought it; what a registry has by now is not what the other hosts run.
            "--pull=never",
            # enter.py writes the logs itself: a second copy would fill the host's disk.
            "--log-driver=none",
            "--no-healthcheck",
            "--stop-timeout=0",
            *self._user(),
            *(f"--env={name}" for name in self.env),
            *([f"--workdir={self.workdir}"] if self.workdir else []),
            *([] if self.entrypoint else [f"--entrypoint={self.python}"]),
            *defaults,
            *(engine_mount(mount) for mount in self.mounts),
            *self.options,
            self.image.id,
            *([self.python] if self.entrypoint else []),
            *self._enter(),
        ]
        return {"create": create, "client_env": self.env}

    def _user(self) -> list[str]:
        """Returns the options that make the program this user: what it writes must be ours to remove.

        Root in a rootless container, and for root itself; the image's own user could not write here.
        """
        if self.runtime == "podman":
            return ["--user=0:0"]
        if os.geteuid() == 0 or engine.is_rootless_docker():
            return ["--userns=host", "--user=0:0"]
        groups = [f"--group-add={group}" for group in os.getgroups() if group != os.getgid()]
        return ["--userns=host", f"--user={os.getuid()}:{os.getgid()}", *groups]

    # ---- enroot ----

    def enroot(self) -> dict[str, Any]:
        """Returns how the image is unpacked once per session, and how the container is started.

        All of enroot's directories are the session's own, so that they go with it.
        """
        root = self.base / "enroot"
        places = {
            f"ENROOT_{name}_PATH": str(root / name.lower()) for name in ("DATA", "CACHE", "RUNTIME", "TEMP")
        }
        # enroot.conf of the host may say otherwise; the environment wins over it.
        switches = {
            "ENROOT_MOUNT_HOME": "no",
            "ENROOT_REMAP_ROOT": "no",
            "ENROOT_LOGIN_SHELL": "no",
            "ENROOT_ROOTFS_WRITABLE": "yes",
            "ENROOT_RESTRICT_DEV": "no",
            "ENROOT_UNSHARE_NET": "no",
            "ENROOT_UNSHARE_PID": "no",
            "ENROOT_UNSHARE_IPC": "no",
            "ENROOT_UNSHARE_UTS": "no",
        }
        of_rows = {name: value for row in self.rows for name, value in row.enroot_env}
        rootfs = "deepep-" + hashlib.sha256(self.image.id.encode()).hexdigest()[:12]
        start = [
            "enroot",
            "start",
            "--rw",
            *([] if self.entrypoint else [f"--rc={self.folder / 'enter.rc'}"]),
            *(f"--env={name}" for name in self.env),
            *(option for row in self.rows for option in row.enroot),
            *(enroot_mount(mount) for mount in self.mounts),
            *self.options,
            rootfs,
            self.python,
            *self._enter(),
        ]
        return {
            "unpack": {"image": self.image.id, "rootfs": rootfs, "data": places["ENROOT_DATA_PATH"]},
            "start": start,
            "client_env": {**places, **switches, **of_rows, **self.env},
        }


def engine_mount(mount: Mount) -> str:
    """Returns the option for docker and podman; unlike with ``--volume`` they refuse a missing source."""
    fields = ["type=bind", f"source={mount.source}", f"target={mount.target}"]
    fields += ["readonly"] if mount.read_only else []
    return "--mount=" + ",".join(_csv(field) for field in fields)


def _csv(field: str) -> str:
    return '"' + field.replace('"', '""') + '"' if any(char in field for char in ',"') else field


def enroot_mount(mount: Mount) -> str:
    """Returns the option for enroot: an fstab line with colons for blanks, so it can hold neither.

    Raises LaunchError for a path that does.
    """
    for path in (mount.source, mount.target):
        if ":" in path or any(char.isspace() for char in path):
            raise LaunchError(f"enroot cannot mount {path!r}: it has a blank or a colon in it")
    how = "x-create=dir,rbind" if mount.folder else "x-create=file,bind"
    return f"--mount={mount.source}:{mount.target}:none:{how},{'ro' if mount.read_only else 'rw'}"


def within_limits(option: str) -> str:
    """Returns a ``--ulimit`` that this process may set: podman has no daemon that could do more.

    A user without CAP_SYS_RESOURCE keeps its own hard limit where that is lower.
    """
    name, _, values = option.partition("--ulimit=")[2].partition("=")
    if not name or _may_raise_limits():
        return option
    wanted = int(values.partition(":")[0])
    hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
    infinite = resource.RLIM_INFINITY
    if hard == infinite or (wanted != -1 and wanted <= hard):
        return option
    return f"--ulimit={name}={hard}:{hard}"


def _may_raise_limits() -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _CAP_SYS_RESOURCE & 1)


def write_enter(
    folder: Path,
    spec: Mapping[str, Any],
    argv: Sequence[str],
    env: Mapping[str, str],
    described: Mapping[str, Any],
    grace_s: float,
) -> None:
    """Writes what ``enter.py`` reads: enter.json, for this user alone, and enroot's command script."""
    needs = [word for word in argv if word.startswith("/") and word.endswith(".py")]
    write_json(
        folder / "enter.json",
        {
            "argv": list(argv),
            "env": dict(env),
            "defaults_env": described["defaults_env"],
            # The image's own program starts where its image says.
            "cwd": str(folder) if spec["program"] == "bundled" else None,
            "needs": needs if spec["program"] == "image" else [],
            "grace_s": grace_s,
        },
        mode=0o600,
    )
    write_text(folder / "enter.rc", _ENTER_RC)


# ---- what is left of runs ----


def leftovers(
    work_dir: Path, host: str, run_id: str | None = None, runtimes: Sequence[str] | None = None
) -> list[Found]:
    """Returns the containers of this host of this work directory: of one session, or of all.

    An engine that does not answer has no containers of ours that run.
    """
    wanted = labels(work_dir, host_name(host), run_id)
    found: list[Found] = []
    for runtime in engine.installed() if runtimes is None else runtimes:
        if runtime not in ENGINES:
            continue
        try:
            found += engine.find(runtime, wanted)
        except ContainerError:
            continue
    return found


def remove(found: Sequence[Found]) -> list[Found]:
    """Ends and removes containers; returns those that did not go."""
    left = []
    for one in found:
        try:
            engine.remove(one.runtime, [one.id])
        except ContainerError:
            left.append(one)
    return left


def end_run(container: Mapping[str, Any]) -> list[str]:
    """Ends and removes what there is of one run's container (``container`` of its launch.json).

    Returns one line for each that did not go; for those who find a run without its supervisor.
    """
    runtime = container["runtime"]
    if runtime not in ENGINES:
        return []
    try:
        found = engine.find(runtime, container["labels"])
    except ContainerError as error:
        return [str(error)]
    return [one.describe() for one in remove(found)]
