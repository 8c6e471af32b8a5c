"""Who has an image, who gets it from whom: what the controller's workers for each host tell each other.

One file per image below the session's ``.state``, changed under a lock: Ansible runs every host's task in a
process of its own. Hosts get the image from hosts that have it or are receiving it, each of which serves a
few at a time; so the time grows with the logarithm of their number at most, and a host that fails is
simply no
source any more. Nothing here talks to a host.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..files import host_name, read_json, write_json

GRACE_S = 5.0
"""How long a pull waits for hosts that have not said yet whether they have the image already."""
TRIES = 2
"""After so many peers that cannot be reached, a host gets the image through the controller."""

BELIEVED = 2
"""So many hosts that cannot reach the registry, or do not trust it, speak for all; one alone may be odd."""

REGISTRY = "registry"
CONTROLLER = "controller"
PEER = "peer"
WAIT = "wait"
NOWHERE = "nowhere"
"""The image was kept by hosts of which none gives it any more."""

_SERVING = ("starting", "receiving", "pulling", "checking", "loading", "ready")
_ON_THE_WAY = ("assigned", "waiting", *_SERVING)
_DONE = ("ready", "failed")


def folder(session: Path, run_id: str) -> Path:
    """Returns where an execution of a session keeps boards and files of images.

    Each has its own: a resumed session stages anew, in other directories on the hosts, and workers of a lost
    controller may still write to theirs.
    """
    return session / ".state" / "images" / run_id


class Board:
    """The state of one image over all hosts that need it, in ``path``."""

    def __init__(self, path: Path, hosts: Sequence[str]) -> None:
        self._path = path
        self._hosts = list(hosts)

    @contextmanager
    def _open(self) -> Iterator[dict[str, Any]]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            data = self.read()
            yield data
            write_json(self._path, data, mode=0o600)
        finally:
            os.close(handle)

    def read(self) -> dict[str, Any]:
        """Returns everything: ``spec``, ``refused``, ``holders`` of roles, ``relay``, ``hosts``."""
        return read_json(self._path) or {
            "spec": None, "refused": None, "decided_at": None, "roles": {}, "relay": None,
            "hosts": {host_name(host): {"phase": None} for host in self._hosts},
        }  # fmt: skip

    # ---- what is to be staged ----

    def take(self, role: str, host: str) -> bool:
        """Returns whether ``host`` has this role now: the first that asks gets it, until it gives it back."""
        with self._open() as data:
            return bool(data["roles"].setdefault(role, host) == host)

    def give_back(self, role: str, host: str) -> None:
        """Lets another host have a role."""
        with self._open() as data:
            if data["roles"].get(role) == host:
                del data["roles"][role]

    def decide(self, spec: Mapping[str, Any]) -> None:
        """Settles what all hosts will have; the first decision stays."""
        with self._open() as data:
            if data["spec"] is None:
                data["spec"] = dict(spec)
                data["decided_at"] = time.time()

    def measured(self, host: str, found: Mapping[str, Any]) -> str | None:
        """Completes the decision by what a host found in its file; returns why another's file is not the
        same.
        """
        with self._open() as data:
            spec = data["spec"]
            if spec["pieces"] is None:
                spec.update({name: found[name] for name in ("size", "pieces", "content", "digest")})
                spec["measured_here"] = False
                data["roles"]["measured"] = host
                return None
            if spec["pieces"] == found["pieces"]:
                return None
            first = data["roles"].get("measured", "the controller")
            return (
                f"its file {spec['reference']} is another one than on {first} ({found['digest'][:19]}, not "
                f"{str(spec['digest'])[:19]}): remove one of them"
            )

    def without_kept(self, host: str) -> None:
        """Records that a host has kept no file of the image."""
        with self._open() as data:
            data["hosts"][host]["kept"] = False
            data["looked_at"] = data.get("looked_at") or time.time()

    def nobody_kept(self, everyone_asked: bool) -> bool:
        """Returns whether no host has kept the image, as far as they have said so or had time to."""
        data = self.read()
        if everyone_asked or all(entry.get("kept") is False for entry in data["hosts"].values()):
            return True
        return time.time() - float(data.get("looked_at") or time.time()) > GRACE_S

    def refuse(self, code: str, text: str) -> None:
        """Settles that no host can have the image; the first reason stays."""
        with self._open() as data:
            data["refused"] = data["refused"] or {"code": code, "text": text}

    def doubt(self, host: str, code: str, text: str) -> None:
        """Records that a host could not ask the registry, for what may be its own fault; others may ask."""
        with self._open() as data:
            data.setdefault("doubts", {})[host] = {"code": code, "text": text}
            for role in [role for role, holder in data["roles"].items() if holder == host]:
                del data["roles"][role]
            if data["hosts"][host]["phase"] not in (None, *_DONE):
                data["hosts"][host].update(source=None, phase="wants")

    def may_ask(self, host: str) -> bool:
        """Returns whether a host has had no trouble with the registry yet."""
        return host not in self.read().get("doubts", {})

    def hopeless(self) -> dict[str, str] | None:
        """Returns ``code`` and ``text`` once as many hosts had trouble with the registry as are believed."""
        data = self.read()
        doubts = data.get("doubts", {})
        left = [name for name, entry in data["hosts"].items() if entry["phase"] != "failed"]
        if not doubts or (len(doubts) < BELIEVED and not set(left) <= set(doubts)):
            return None
        first = next(iter(doubts.values()))
        said = "" if len(doubts) == 1 else f" (so say {', '.join(doubts)})"
        return {"code": first["code"], "text": f"{first['text']}{said}"}

    # ---- hosts ----

    def update(self, host: str, **changes: Any) -> None:
        """Keeps what a host has become."""
        with self._open() as data:
            entry = data["hosts"][host]
            entry.update(changes)
            if changes.get("phase") in _DONE:
                entry["source"] = None
            if changes.get("phase") == "failed":
                for role in [role for role, holder in data["roles"].items() if holder == host]:
                    del data["roles"][role]

    def lost(self, host: str, code: str) -> None:
        """Records that a host's source failed it: it is not given that one again."""
        with self._open() as data:
            entry = data["hosts"][host]
            source = entry.get("source")
            if source in data["hosts"]:
                entry.setdefault("bad", []).append(source)
            entry["unreachable"] = entry.get("unreachable", 0) + (code == "unreachable")
            entry.update(source=None, phase="wants")

    def assign(
        self, host: str, fan_out: int, may_pull: bool, pull_from: str, everyone_asked: bool = False
    ) -> tuple[str, dict[str, Any]]:
        """Returns where a host that wants the image gets it: a kind, and for a peer its name and address.

        ``everyone_asked``: hosts without a word are not waited for, since more hosts than forks cannot speak.
        ``may_pull``: the image is the registry's, not a file's.
        """
        with self._open() as data:
            hosts, spec = data["hosts"], data["spec"]
            mine = hosts[host]
            cut_off = mine.get("unreachable", 0) >= TRIES
            source = None if cut_off or spec["pieces"] is None else self._source(hosts, host, fan_out)
            if source is not None:
                mine.update(source=source, phase="assigned")
                peer = hosts[source]
                return PEER, {"host": source, "address": peer["address"], "port": peer["port"]}
            holders = {
                name for name, entry in hosts.items() if entry["phase"] == "ready" and entry.get("file")
            }
            if holders and (cut_off or holders <= set(mine.get("bad", ()))):
                return self._through_controller(data, host)
            if self._will_serve(hosts, host):
                return WAIT, {}
            silent = any(entry["phase"] is None for entry in hosts.values())
            waited = time.time() - float(data["decided_at"] or 0)
            if silent and not everyone_asked and waited < GRACE_S:
                return WAIT, {}
            if pull_from == CONTROLLER or not may_pull:
                return self._through_controller(data, host, fetches=True)
            if not spec["asked"]:
                return NOWHERE, {}
            asked = data["roles"].get("resolve")
            if asked in hosts and asked != host and hosts[asked]["phase"] in (None, "wants"):
                # Whoever has asked the registry also pulls: one host has to do with it.
                return WAIT, {}
            if host in data.get("doubts", {}):
                return WAIT, {}
            if data["roles"].setdefault("pull", host) != host:
                return WAIT, {}
            mine.update(source=REGISTRY, phase="assigned")
            return REGISTRY, {}

    def _source(self, hosts: Mapping[str, Any], host: str, fan_out: int) -> str | None:
        """Returns the best host to get the image from now; None where all are busy or there is none."""
        clients: dict[str, int] = {}
        for entry in hosts.values():
            source = entry.get("source")
            if source in hosts and entry["phase"] not in _DONE:
                clients[source] = clients.get(source, 0) + 1
        best: list[tuple[int, int, int, str]] = []
        for order, (name, entry) in enumerate(hosts.items()):
            if (
                name == host
                or entry.get("phase") not in _SERVING
                or not entry.get("port")
                or name in hosts[host].get("bad", ())
                or clients.get(name, 0) >= fan_out
                or not self._rooted(hosts, name, host)
            ):
                continue
            best.append((self._depth(hosts, name), clients.get(name, 0), order, name))
        return min(best)[3] if best else None

    @staticmethod
    def _rooted(hosts: Mapping[str, Any], name: str, host: str) -> bool:
        """Returns whether ``name`` has the image or gets it from somewhere, and not from ``host``."""
        seen = {host}
        while name not in seen:
            seen.add(name)
            entry = hosts[name]
            source = entry.get("source")
            if entry["phase"] in ("ready", "local") or source in (REGISTRY, CONTROLLER):
                return True
            if entry["phase"] not in _ON_THE_WAY or source not in hosts:
                return False
            name = source
        return False

    @staticmethod
    def _depth(hosts: Mapping[str, Any], name: str) -> int:
        depth = 0
        while hosts[name].get("source") in hosts and depth < len(hosts):
            name = hosts[name]["source"]
            depth += 1
        return depth

    def _will_serve(self, hosts: Mapping[str, Any], host: str) -> bool:
        """Returns whether some other host serves now or soon, and is no bad source: then waiting is right."""
        return any(
            name not in hosts[host].get("bad", ())
            and (entry["phase"] != "ready" or bool(entry.get("file")))
            and self._rooted(hosts, name, host)
            for name, entry in hosts.items()
        )

    @staticmethod
    def _through_controller(
        data: dict[str, Any], host: str, fetches: bool = False
    ) -> tuple[str, dict[str, Any]]:
        """``fetches``: the controller gets the file itself, instead of from a host that has it."""
        relay = data["relay"] = data["relay"] or {"path": None, "by": None}
        if relay["path"]:
            data["hosts"][host].update(source=CONTROLLER, phase="assigned")
            return CONTROLLER, {"path": relay["path"]}
        return (CONTROLLER, {"path": None}) if fetches else (WAIT, {})

    # ---- through the controller ----

    def relay_wanted(self, host: str) -> bool:
        """Returns whether ``host``, which has the image, is the one that brings it to the controller."""
        with self._open() as data:
            relay = data["relay"]
            if relay is None or relay["path"]:
                return False
            if relay["by"] is None:
                relay["by"] = host
            return bool(relay["by"] == host)

    def relayed(self, path: str | None) -> None:
        """Records where the controller has the file; None lets another host bring it."""
        with self._open() as data:
            data["relay"] = {"path": path, "by": None}

    # ---- the end ----

    def wanting(self) -> list[str]:
        """Returns the hosts that said that they want the image and do not have it yet."""
        hosts = self.read()["hosts"]
        return [name for name, entry in hosts.items() if entry["phase"] not in (None, *_DONE)]

    def over(self) -> bool:
        """Returns whether every host has the image, or never will."""
        data = self.read()
        if data["refused"]:
            return True
        return all(entry["phase"] in _DONE for entry in data["hosts"].values())
