"""The process that gets one image onto one host, and serves it to the others meanwhile.

Detached from the module that starts it, since an image takes longer than a connection should have to last.
Its job, with the credentials in it, comes on standard input; what it does stands in ``state.json``. It ends
when it is told to, after its lifetime, and when its session is cleaned up (by the marks in its environment).
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import credentials, images, lease
from ..files import now_iso, read_json, write_json
from ..processes import identify
from ..reference import Image, parse
from ..registry import Blob, Client, Login, Manifest, RegistryError
from . import archive, enroot, peers, pull, store
from .engines import Engine, EngineError
from .incoming import Incoming

TICK_S = 0.5
"""How often the state says how far a transfer is."""
FULL = "disk_full"
BROKEN = "not_loaded"


class Failed(Exception):
    """The image cannot be had here; ``code`` says of what kind the reason is."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def main(argv: list[str]) -> int:
    """Does the job on standard input; ``argv`` is empty."""
    job = json.loads(sys.stdin.read())
    os.close(0)
    os.open(os.devnull, os.O_RDONLY)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    agent = Agent(job)
    # Open, and so held, to the end of this process.
    lease.hold(Path(job["base"]))
    try:
        agent.run()
    except SystemExit:
        agent.tell(phase="ended")
    return 0


def _end(_number: int, _frame: Any) -> None:
    raise SystemExit(0)


class Agent:
    """One image on one host. ``job`` is what ``steps.fetch`` puts together."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self._job = job
        self._spec: dict[str, Any] = dict(job["spec"])
        self._image: Image = parse(self._spec["reference"])
        self._runtime = str(self._spec["runtime"])
        self._folder: Path = Path(job["folder"])
        self._path: Path = self._folder / str(self._spec["file_name"])
        self._state_path = Path(job["state"])
        self._end = time.monotonic() + float(job["lifetime_s"])
        self._incoming: Incoming | None = None
        self._client: Client | None = None
        self._server: peers.Server | None = None
        self._told = threading.Lock()
        me = identify(os.getpid())
        self._state: dict[str, Any] = {
            "key": self._spec["key"], "phase": "starting", "pid": me.pid, "start_ticks": me.start_ticks,
            "boot_id": me.boot_id, "address": None, "port": None, "done": 0, "total": self._spec.get("size"),
            "from_registry": 0, "code": None, "problem": None, "entry": None, "measured": None,
            "waits_for": None, "at": now_iso(),
        }  # fmt: skip

    def tell(self, **changes: Any) -> None:
        """Puts changes into the state, for whoever looks."""
        with self._told:
            self._state.update(changes, at=now_iso())
            write_json(self._state_path, self._state)

    def run(self) -> None:
        """Gets the image, makes it ready to be started, and serves it until it is told to end."""
        self._listen()
        self.tell()
        threading.Thread(target=self._report, daemon=True).start()
        try:
            file = self._get()
            entry = self._make_ready(file)
        except RegistryError as error:
            self.tell(phase="failed", code=error.code, problem=str(error))
        except Failed as error:
            self.tell(phase="failed", code=error.code, problem=str(error))
        except store.NoRoom as error:
            self.tell(phase="failed", code=FULL, problem=str(error))
        except OSError as error:
            full = error.errno in (28, 122)  # no space left, over quota
            code = FULL if full else BROKEN
            self.tell(phase="failed", code=code, problem=f"{self._path.name}: {error.strerror or error}")
        except (EngineError, enroot.EnrootError, credentials.CredentialError, archive.BadArchive) as error:
            self.tell(phase="failed", code=BROKEN, problem=str(error))
        except TimeoutError as error:
            self.tell(phase="failed", code=BROKEN, problem=str(error))
        else:
            images.put(Path(self._job["base"]), self._spec["reference"], entry)
            self.tell(phase="ready", entry=entry, done=self._spec.get("size"))
        if self._incoming is not None and self._state["phase"] != "ready":
            self._incoming.close()
        while time.monotonic() < self._end and self._server is not None and self._state["phase"] == "ready":
            time.sleep(0.5)

    # ---- serving ----

    def _listen(self) -> None:
        address = self._job.get("address")
        if not address:
            return
        given = peers.Secrets(**self._job["secrets"])
        try:
            self._server = peers.Server(str(address), given, self._spec["key"], self._source)
        except (OSError, ValueError) as error:
            # Others get the image elsewhere; this host's own copy does not depend on it.
            self.tell(problem=f"cannot serve on {address}: {error}")
            return
        self._state.update(address=address, port=self._server.port)

    def _source(self) -> peers.Source:
        # Peers may come before anything is here.
        limit = time.monotonic() + peers.STALL_S
        while self._incoming is None and not self._path.exists() and time.monotonic() < limit:
            time.sleep(0.1)
        incoming = self._incoming
        if incoming is not None and not incoming.ended and incoming.path.exists():
            return incoming
        return self._path

    def _report(self) -> None:
        before = None
        while True:
            time.sleep(TICK_S)
            done = self._incoming.arrived if self._incoming is not None else self._state["done"]
            received = self._client.received if self._client is not None else 0
            if (done, received) != before and self._state["phase"] in ("pulling", "receiving"):
                before = (done, received)
                self.tell(done=done, from_registry=received)

    # ---- getting it ----

    def _get(self) -> Path:
        """Returns the whole, checked file of the image."""
        source = self._job["source"]
        if source["kind"] == "local":
            return self._local(Path(source["path"]))
        if source["kind"] == "serve":
            self._path = Path(source["path"])
            return self._path

        def waiting() -> None:
            if self._state["phase"] != "waiting":
                self.tell(phase="waiting", waits_for="another session that makes the same file")

        self._claim = store.Claim(self._path)
        if not self._claim.take(self._is_there, waiting, self._end - time.monotonic()):
            note = store.describe(self._path) or {}
            self._spec.update({name: note[name] for name in ("size", "pieces", "content") if name in note})
            if self._spec.get("measured_here"):
                self.tell(measured=note["measured"])
            return self._path
        measured = self._make(source)
        store.settle(self._path, {
            "reference": self._spec["reference"], "digest": self._spec["digest"],
            "runtime": self._runtime, "content": self._spec.get("content"), "measured": measured,
            "size": self._path_size(), "pieces": self._spec["pieces"],
        })  # fmt: skip
        self._claim.share()
        if self._incoming is not None:
            self._incoming.close()
        return self._path

    def _path_size(self) -> int:
        return store.partial(self._path).stat().st_size

    def _is_there(self) -> bool:
        note = store.describe(self._path)
        if note is None:
            return False
        if self._spec["pieces"] is not None:
            return bool(note.get("pieces") == self._spec["pieces"])
        return bool(note.get("digest") == self._spec["digest"] and note.get("measured"))

    def _make(self, source: Mapping[str, Any]) -> dict[str, Any] | None:
        """Fills ``<name>.part``; returns what was measured where the pieces were not known before."""
        store.check_room(self._room())
        if source["kind"] == "registry" and self._runtime == "enroot":
            return self._import()
        if source["kind"] == "registry" and self._job.get("pull_with") == "runtime":
            return self._pull_by_runtime()
        self.tell(phase="checking")
        if source["kind"] == "file":
            self._take_over(source)
        else:
            self._incoming = Incoming(store.partial(self._path), self._pieces())
            self._incoming.recover()
            if source["kind"] == "registry":
                self._pull(self._incoming)
            else:
                self._fetch(self._incoming, source)
        if self._incoming is not None:
            self._incoming.finish()
        return None

    def _room(self) -> list[tuple[Path, int, str]]:
        there = store.partial(self._path)
        have = there.stat().st_size if there.exists() else 0
        size = int(self._spec.get("size") or 0)
        wanted = [(self._folder, max(0, size - have), "the image's file")]
        if self._runtime == "enroot":
            if self._spec.get("pieces") is None:
                wanted.append((self._folder, size, "its layers while enroot imports them"))
            return wanted
        root = Engine(self._runtime, 60.0).root()
        if root is not None:
            # Unpacked it is never smaller than compressed: this much is needed at least.
            wanted.append((root, size, f"{self._runtime}'s own copy (at least)"))
        return wanted

    def _login(self) -> Login:
        return Login(**(self._job.get("login") or {}))

    def _pull(self, incoming: Incoming) -> None:
        self.tell(phase="pulling")
        self._client = Client(self._image.host, self._login())
        manifest = manifest_from_json(self._spec["manifest"])
        config = base64.b64decode(self._spec["config"])
        parts = archive.parts(manifest, config, self._spec["tag"])
        pull.pull(self._client, self._image, parts, incoming)
        self.tell(from_registry=self._client.received, done=incoming.arrived)

    def _fetch(self, incoming: Incoming, source: Mapping[str, Any]) -> None:
        """Fetches from a peer; where that one is lost, waits to be told of another."""
        inbox = self._state_path.with_name("next.json")
        given = peers.Secrets(**self._job["secrets"])
        while source["kind"] == "peer":
            self.tell(phase="receiving", problem=None, code=None, source=source["host"])
            address, port = str(source["address"]), int(source["port"])
            try:
                peers.fetch(address, port, given, self._spec["key"], incoming)
                self.tell(done=incoming.arrived)
                return
            except (peers.Unreachable, peers.Lost) as error:
                code = "unreachable" if isinstance(error, peers.Unreachable) else "lost"
                problem = f"{source['host']}: {error}"
                self.tell(phase="lost", code=code, problem=problem, done=incoming.arrived)
            source = self._told_next(inbox)
        self._take_over(source)

    def _told_next(self, inbox: Path) -> dict[str, Any]:
        while time.monotonic() < self._end:
            found = read_json(inbox)
            if found:
                inbox.unlink()
                return found
            time.sleep(0.1)
        raise Failed(BROKEN, "no host that could give the image was left")

    def _take_over(self, source: Mapping[str, Any]) -> None:
        """Takes a file that the controller has put here, and checks it like everything else."""
        part = store.partial(self._path)
        if self._incoming is not None:
            self._incoming.close()
        Path(source["path"]).replace(part)
        self._incoming = Incoming(part, self._pieces())
        self._incoming.recover()
        if self._incoming.missing():
            raise Failed(BROKEN, f"{self._path.name} arrived damaged through the controller")

    def _pieces(self) -> list[archive.Piece]:
        return [archive.Piece(int(size), str(sha256)) for size, sha256 in self._spec["pieces"]]

    def _import(self) -> dict[str, Any]:
        self.tell(phase="pulling")
        part = store.partial(self._path)
        if part.exists():
            part.unlink()
        enroot.import_image(self._image, self._login(), self._spec.get("auth_host"), self._job["run_id"],
        part,
                            self._end - time.monotonic())  # fmt: skip
        problem = store.squashfs_problem(part)
        if problem:
            raise Failed(BROKEN, f"enroot wrote a file that is not usable: {problem}")
        return self._measure(part)

    def _pull_by_runtime(self) -> dict[str, Any]:
        self.tell(phase="pulling")
        engine = Engine(self._runtime, self._end - time.monotonic())
        name = f"{self._image.host}/{self._image.repository}@{self._spec['digest']}"
        with credentials.private_directory(self._job["run_id"]) as private:
            credentials.docker_config(private, {self._image.host: self._login()})
            found = engine.pull(name, private)
        part = store.partial(self._path)
        if part.exists():
            part.unlink()
        engine.save(str(found["Id"]), self._spec["tag"], part)
        return self._measure(part)

    def _local(self, path: Path) -> Path:
        self.tell(phase="checking")
        where = store.foreign_note(self._folder, path)
        note = store.recall(path, where)
        if note is None:
            problem = store.squashfs_problem(path) if self._runtime == "enroot" else None
            if problem:
                raise Failed(BROKEN, problem)
            note = {"measured": self._measure(path)}
            store.remember(path, note, where)
        self._path = path
        measured = dict(note["measured"])
        self._spec.update(size=measured["size"], pieces=measured["pieces"], content=measured["content"],
                          digest=measured["digest"])  # fmt: skip
        self.tell(measured=measured, total=measured["size"], done=measured["size"])
        return path

    def _measure(self, path: Path) -> dict[str, Any]:
        """Returns what has to be known of a file whose parts have no digests of their own."""
        size = path.stat().st_size
        self.tell(phase="checking", total=size, done=0)
        sha256, pieces = store.measure(path, lambda done: self._state.__setitem__("done", done))
        content = None
        digest = f"sha256:{sha256}"
        if self._runtime != "enroot":
            found = archive.examine(path)
            content = {"config": found.config, "diff_ids": list(found.diff_ids)}
            digest = found.config
        measured = {
            "size": size,
            "pieces": [[piece.size, piece.sha256] for piece in pieces],
            "content": content,
            "digest": self._spec["digest"] or digest,
            "sha256": sha256,
        }
        self._spec.update(size=size, pieces=measured["pieces"], content=content, digest=measured["digest"])
        self.tell(measured=measured, total=size, done=size)
        return measured

    # ---- making it ready ----

    def _make_ready(self, file: Path) -> dict[str, Any]:
        keep = bool(self._job["keep"]) or file != self._folder / self._spec["file_name"]
        if self._runtime == "enroot":
            return {"runtime": "enroot", "id": str(file), "digest": self._spec["digest"], "file": str(file)}
        if self._job["source"]["kind"] == "serve":
            return dict(self._job["entry"])
        self.tell(phase="loading")
        content = content_from_json(self._spec["content"])
        engine = Engine(self._runtime, self._end - time.monotonic())
        found = engine.holds(content, self._spec["tag"]) or engine.load(file, content, self._spec["tag"])
        return {
            "runtime": self._runtime,
            "id": found,
            "digest": self._spec["digest"],
            "file": str(file) if keep else None,
        }


def manifest_to_json(manifest: Manifest) -> dict[str, Any]:
    """Returns a manifest as JSON data."""

    def blob(value: Blob) -> list[Any]:
        return [value.digest, value.size, value.media_type]

    return {
        "digest": manifest.digest,
        "manifest_digest": manifest.manifest_digest,
        "config": blob(manifest.config),
        "layers": [blob(layer) for layer in manifest.layers],
    }


def manifest_from_json(data: Mapping[str, Any]) -> Manifest:
    """Returns the manifest that :func:`manifest_to_json` gave."""
    return Manifest(
        data["digest"],
        data["manifest_digest"],
        Blob(*data["config"]),
        tuple(Blob(*layer) for layer in data["layers"]),
    )


def content_from_json(data: Mapping[str, Any]) -> archive.Content:
    """Returns what an archive holds from JSON data."""
    return archive.Content(data["config"], tuple(data["diff_ids"]))
