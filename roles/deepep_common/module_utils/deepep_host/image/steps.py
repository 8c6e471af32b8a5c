"""What the module does for the controller: resolve a reference, look what is here, start and watch the
agent.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import images, processes
from ..files import read_json, write_json
from ..reference import file_name, parse, plain_text
from ..registry import UNUSABLE, Client, Login, RegistryError
from . import archive, enroot, store
from .agent import content_from_json, manifest_to_json
from .engines import Engine, EngineError

GONE = "agent_gone"
RUNTIME = "no_runtime"
START_S = 60.0
SETTLE_S = 3.0


def key_of(reference: str, runtime: str) -> str:
    """Returns the short name of an image in a session: for files, notes and requests."""
    return hashlib.sha256(f"{runtime} {reference}".encode()).hexdigest()[:12]


def resolve(
    folder: Path,
    reference: str,
    runtime: str,
    login: Login,
    pull_with: str,
    machine: str | None = None,
) -> dict[str, Any]:
    """Returns what is to be staged for a reference. Raises RegistryError.

    For a file on the controller or a host, ``digest`` and ``pieces`` are open until it was read. ``machine``:
    whose image, where it is not this machine's.
    """
    image = parse(reference)
    spec = _empty(reference, runtime)
    if image.local_store and runtime == "enroot":
        # Another runtime's own image, which enroot can import: nobody else has to be asked.
        name = f"{file_name(image)}-{spec['key']}.sqsh"
        return {**spec, "file_name": name, "asked": True}
    if image.local_store:
        raise RegistryError(
            UNUSABLE, f"{reference} can only be used by enroot", f"write {plain_text(image)} for {runtime}"
        )
    if image.file:
        name = Path(image.path).name
        return {**spec, "file_name": f"{spec['key']}-{name}", "tag": _tag(name, spec["key"])}
    client = Client(image.host, login)
    manifest = client.manifest(image, machine)
    kind = "sqsh" if runtime == "enroot" else "tar"
    spec.update(
        digest=manifest.digest,
        size=manifest.size,
        asked=True,
        auth_host=client.auth_host,
        file_name=f"{file_name(image)}-{_short(manifest.digest)}.{kind}",
        tag=_tag(image.path, _short(manifest.manifest_digest)),
    )
    if runtime != "enroot":
        config = client.document(image, manifest.config)
        content = archive.content(config, manifest.config.digest)
        spec["content"] = {"config": content.config, "diff_ids": list(content.diff_ids)}
        if pull_with != "runtime":
            pieces = archive.pieces(archive.parts(manifest, config, spec["tag"]))
            spec.update(
                manifest=manifest_to_json(manifest),
                config=base64.b64encode(config).decode("ascii"),
                pieces=[[piece.size, piece.sha256] for piece in pieces],
                size=sum(piece.size for piece in pieces),
                measured_here=False,
            )
    return {**spec, "received": client.received}


def cached(folder: Path, reference: str, runtime: str) -> dict[str, Any] | None:
    """Returns what to stage by a file that an earlier scenario kept here; None without one."""
    for path, note in store.notes(folder, reference):
        if note.get("runtime") == runtime:
            kept = {name: note.get(name) for name in ("digest", "size", "pieces", "content")}
            tag = _tag(parse(reference).path, _short(str(kept["digest"])))
            found = {**_empty(reference, runtime), **kept}
            return {**found, "file_name": path.name, "tag": tag, "measured_here": False}
    return None


def _empty(reference: str, runtime: str) -> dict[str, Any]:
    return {
        "key": key_of(reference, runtime), "reference": reference, "runtime": runtime, "digest": None,
        "size": None, "pieces": None, "content": None, "tag": "", "asked": False, "received": 0,
        "measured_here": True,
    }  # fmt: skip


def begin(base: Path, folder: Path, spec: Mapping[str, Any], may_pull: bool, keep: bool) -> dict[str, Any]:
    """Returns how an image stands on this host: ``phase`` is ``ready``, ``local``, ``wants`` or ``failed``.

    Where it is ready, it stands in images.json. ``file``: the path of a checked file that could be served.
    """
    runtime, reference = str(spec["runtime"]), str(spec["reference"])
    image = parse(reference)
    problem = (
        enroot.problem(may_pull and not image.file)
        if runtime == "enroot"
        else Engine(runtime, 60.0).problem()
    )
    if problem:
        return {"phase": "failed", "code": RUNTIME, "problem": problem}
    if image.file and Path(image.path).is_file():
        return {"phase": "local", "path": image.path}
    path = folder / str(spec["file_name"])
    note = store.describe(path)
    file = str(path) if note is not None and note.get("digest") == spec["digest"] and spec["digest"] else None
    entry: dict[str, Any] | None = None
    if runtime == "enroot":
        if file and note is not None:
            entry = {"runtime": runtime, "id": file, "digest": note["digest"], "file": file}
    elif spec.get("content") and (file or not keep):
        # With keep the file is wanted too, not only the image in the runtime.
        try:
            found = Engine(runtime, 60.0).holds(content_from_json(spec["content"]), str(spec["tag"]))
        except EngineError as error:
            return {"phase": "failed", "code": RUNTIME, "problem": str(error)}
        if found:
            entry = {
                "runtime": runtime,
                "id": found,
                "digest": spec["digest"],
                "file": file if keep else None,
            }
    if entry is None:
        return {"phase": "wants", "file": file}
    images.put(base, reference, entry)
    measured = note.get("measured") if note else None
    return {"phase": "ready", "entry": entry, "file": file, "measured": measured}


def fetch(base: Path, folder: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """Starts the agent for one image, or tells the one that has lost its source of another; returns its
    state.

    Raises OSError where there is no program to start it from.
    """
    where = _agent_folder(base, str(job["spec"]["key"]))
    before = look(base, str(job["spec"]["key"]))
    if before is not None and before["phase"] == "lost" and job["source"]["kind"] in ("peer", "file"):
        write_json(where / "next.json", dict(job["source"]))
        return look(base, str(job["spec"]["key"]), seen="lost", wait_s=5.0) or before
    end(base, str(job["spec"]["key"]))
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("state.json", "next.json"):
        if (where / name).exists():
            (where / name).unlink()
    program = base / "program" / "image_agent.py"
    if not program.is_file():
        raise FileNotFoundError(f"{program} is missing: the program is staged before the images")
    whole = {**job, "base": str(base), "folder": str(folder), "state": str(where / "state.json")}
    with (where / "agent.txt").open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, "-I", str(program)],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**_environment(), "DEEPEP_RUN_ID": str(job["run_id"]), "DEEPEP_HOST": str(job["host"])},
        )
    _tell(process, whole)
    limit = time.monotonic() + START_S
    while time.monotonic() < limit:
        state = read_json(where / "state.json")
        if state is not None and state["pid"] == process.pid:
            return state
        if process.poll() is not None:
            break
        time.sleep(0.02)
    last = (where / "agent.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    return {"phase": "failed", "code": GONE, "problem": f"the staging process did not start: {''.join(last)}"}


def busy(base: Path) -> bool:
    """Returns whether a session is staging an image on this host now."""
    states = [read_json(path) for path in (base / "images").glob("*/state.json")]
    return any(state is not None and _alive(state) for state in states)


def look(base: Path, key: str, seen: str = "", wait_s: float = 0.0) -> dict[str, Any] | None:
    """Returns the agent's state, once its phase is not ``seen`` or after ``wait_s``; None without an
    agent.
    """
    path = _agent_folder(base, key) / "state.json"
    limit = time.monotonic() + wait_s
    while True:
        state = read_json(path)
        if state is None:
            return None
        if state["phase"] not in ("ready", "failed", "ended") and not _alive(state):
            state = read_json(path) or state
            if state["phase"] not in ("ready", "failed", "ended"):
                state.update(phase="failed", code=GONE, problem="the staging process on this host was killed")
        if state["phase"] != seen or time.monotonic() >= limit:
            return state
        time.sleep(0.1)


def end(base: Path, key: str) -> bool:
    """Ends the agent of an image and whatever it started; returns whether there was one."""
    state = read_json(_agent_folder(base, key) / "state.json")
    if state is None or not _alive(state):
        return False
    pid = int(state["pid"])
    for number, patience_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(pid, number)
        except (ProcessLookupError, PermissionError):
            break
        limit = time.monotonic() + patience_s
        while time.monotonic() < limit:
            processes.reap()
            if not _alive(state):
                return True
            time.sleep(0.05)
    return True


def close(base: Path, folder: Path, spec: Mapping[str, Any], keep: bool) -> bool:
    """Ends serving an image; a file that is not kept is removed. Returns whether anything changed."""
    changed = end(base, str(spec["key"]))
    path = folder / str(spec["file_name"])
    if not keep and spec["runtime"] != "enroot" and path.exists():
        # The threads of a process that has ended hold its files for a moment more.
        limit = time.monotonic() + (SETTLE_S if changed else 0.0)
        while not store.is_free(path) and time.monotonic() < limit:
            time.sleep(0.05)
        if store.is_free(path):
            store.remove(path)
            changed = True
    shutil.rmtree(_agent_folder(base, str(spec["key"])), ignore_errors=True)
    return changed


def _tell(process: subprocess.Popen[bytes], job: Mapping[str, Any]) -> None:
    if process.stdin is not None:
        with process.stdin as stream:
            stream.write(json.dumps(job).encode("utf-8"))


def _agent_folder(base: Path, key: str) -> Path:
    return base / "images" / key


def _alive(state: Mapping[str, Any]) -> bool:
    return processes.is_alive(
        processes.Identity(int(state["pid"]), int(state["start_ticks"]), str(state["boot_id"]))
    )


def _environment() -> dict[str, str]:
    """Returns what the agent and the runtime need of this environment; nothing else travels along."""
    names = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "XDG_RUNTIME_DIR", "DOCKER_HOST"]
    names += ["SSL_CERT_FILE", "SSL_CERT_DIR", "CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF"]
    names += ["CONTAINERS_REGISTRIES_CONF"]
    proxies = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
    wanted = {*names, *proxies, *(name.upper() for name in proxies)}
    found = {name: value for name, value in os.environ.items() if name in wanted}
    found["PATH"] = found.get("PATH", "/usr/bin:/bin") + ":/usr/local/bin:/usr/sbin:/sbin"
    return found


def _short(digest: str) -> str:
    return digest.partition(":")[2][:12]


def _tag(path: str, mark: str) -> str:
    """Returns the name by which a staged image is known to docker and podman, so that a prune keeps it."""
    last = path.rpartition("/")[2].lower()
    safe = "".join(letter if letter.isalnum() else "-" for letter in last).strip("-") or "image"
    return f"localhost/deepep/{safe}:{mark}"
