"""What a run directory holds, read once. Nothing here judges, and nothing here raises for what it finds."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from ..preflight.needs import needs_rdma
from .catalogue import Signature
from .logs import LogScan, scan_log

LOG_KINDS = ("stderr", "stdout", "supervisor")
"""Logs of each host, most telling first."""


class Unreadable(NamedTuple):
    """Stands for a file that is there but holds nothing usable."""

    why: str


class HostEnd(NamedTuple):
    """How the run ended on one host: its ``state.json``, or what the controller saw of it last.

    ``seen_at``: when that was, None for what the host says itself; ``away_at``: since when it had no answer.
    """

    host: str
    status: str
    outcome: str | None
    exit_code: int | None
    cause: str
    phase: str
    started_at: str | None
    ended_at: str | None
    first_failure_at: str | None
    leftovers: list[Any]
    seen_at: str | None = None
    away_at: float | None = None


class Evidence:
    """The files of one run. ``files`` maps every relative path (with ``/``) to its size in bytes.

    ``seen_failing`` has when the controller saw a host fail, ``stopped_at`` when it began to stop the run,
    both in s, by its own clock; ``running`` are the hosts on which it saw the run start.
    """

    def __init__(
        self,
        run: Mapping[str, Any],
        run_dir: Path,
        seen_failing: Mapping[str, float] | None = None,
        stopped_at: float | None = None,
        not_collected: Mapping[str, str] | None = None,
        running: frozenset[str] = frozenset(),
    ) -> None:
        self.run = run
        self.running = running
        self.seen_failing = dict(seen_failing or {})
        self.stopped_at = stopped_at
        self.not_collected = dict(not_collected or {})
        self.run_dir = run_dir
        self._top = str(run_dir)
        self.files = list_files(run_dir)
        self.hosts: list[str] = [str(host["name"]) for host in run["hosts"]]
        self.world_size = int(run["expect"]["world_size"])
        self.ends: dict[str, Any] = {host: self._end(host) for host in self.hosts}
        self.logs: dict[tuple[str, str], LogScan] = {}
        for host in self.hosts:
            for kind in LOG_KINDS:
                name = log_name(host, kind)
                if name in self.files:
                    try:
                        self.logs[host, kind] = scan_log(run_dir / name)
                    except OSError:
                        del self.files[name]

    @property
    def left_out(self) -> dict[str, dict[str, Any]]:
        """The files that were not fetched on purpose, by path: ``{"bytes", "why"}`` and the host."""
        value = self.read_json("left_out.json")
        hosts = value.get("hosts") if isinstance(value, dict) else None
        found: dict[str, dict[str, Any]] = {}
        for host, files in hosts.items() if isinstance(hosts, dict) else ():
            for one in files if isinstance(files, list) else ():
                if isinstance(one, dict) and isinstance(one.get("path"), str):
                    found[one["path"]] = {**one, "host": host}
        return found

    @property
    def started(self) -> bool:
        """Whether anything shows that the run was started on a host."""
        return any(end is not None for end in self.ends.values()) or bool(self.logs)

    @property
    def ended_with(self) -> str | None:
        """The run with which this one is to end (``end_post_comp``), or None."""
        others = [d["run"] for d in self.run.get("after", []) if d["type"] == "end_post_comp"]
        return str(others[0]) if others else None

    def harmless(self, signature: Signature) -> bool:
        """Whether a line says nothing here: ranks of one host need no network, if NVLink is allowed."""
        alone = len(self.hosts) == 1 and not needs_rdma(self.run)
        return signature.harmless_without_network and alone

    @property
    def bundled(self) -> bool:
        """Whether the program is this project's, which proves what it measured."""
        return bool(self.run["program"] == "bundled")

    def read_json(self, name: str) -> Any:
        """Returns the JSON value of a file, None where there is no file, or an :class:`Unreadable`."""
        if name not in self.files:
            return None
        try:
            with open(f"{self._top}/{name}", "rb") as file:  # noqa: PTH123 - Path costs more than the reading
                value = json.loads(file.read())
        except (OSError, ValueError, RecursionError) as error:
            return Unreadable(f"{name} is no readable JSON: {error}")
        return Unreadable(f"{name} holds null") if value is None else value

    def _end(self, host: str) -> Any:
        value = self.read_json(state_name(host))
        if value is None or isinstance(value, Unreadable):
            return value
        if not isinstance(value, dict):
            return Unreadable(f"{state_name(host)} holds no object")
        exit_code = value.get("exit_code")
        leftovers, away = value.get("leftovers") or [], value.get("away_since")
        return HostEnd(
            host=host,
            status=str(value.get("status")),
            outcome=_text(value.get("outcome")),
            exit_code=exit_code if isinstance(exit_code, int) and not isinstance(exit_code, bool) else None,
            cause=_text(value.get("cause")) or "",
            phase=_text(value.get("phase")) or "",
            started_at=_text(value.get("started_at")),
            ended_at=_text(value.get("ended_at")),
            first_failure_at=_text(value.get("first_failure_at")),
            leftovers=leftovers if isinstance(leftovers, list) else [leftovers],
            seen_at=_text(value.get("seen_at")),
            away_at=away if isinstance(away, float) else None,
        )


def seconds(text: Any) -> float | None:
    """Returns an ISO 8601 time as seconds since 1970, None where it is none."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (AttributeError, ValueError):
        return None


class Seen(NamedTuple):
    """What the controller saw of one run: where it began, when hosts failed, when it was stopped. Seconds."""

    failing: dict[str, float]
    stopped_at: float | None
    not_collected: dict[str, str]
    """Why the files of a host could not be fetched, or not all of them."""
    running: frozenset[str] = frozenset()
    """The hosts on which it was started."""


NOTHING_SEEN = Seen({}, None, {})


_TOLD = ('"start"', '"ended"', '"stop"', '"rendezvous"', '"collect"')


def read_seen(path: Path) -> dict[str, Seen]:
    """Returns what the controller saw of each run, from events.jsonl; empty without one.

    A run that was repeated has events of every attempt: the last ``rendezvous`` begins its story anew.
    """
    found: dict[str, Seen] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        if not any(word in line for word in _TOLD):
            continue
        try:
            event = json.loads(line)
        except ValueError:
            continue
        moment = seconds(event.get("t")) if isinstance(event, dict) else None
        if moment is None:
            continue
        run = str(event.get("run"))
        seen = found.setdefault(run, Seen({}, None, {}))
        well = event.get("outcome") == "exited" and event.get("exit_code") == 0
        if event.get("event") == "rendezvous":
            del found[run]
        elif event.get("event") == "start" and event.get("status") == "running":
            found[run] = seen._replace(running=seen.running | {str(event.get("host"))})
        elif event.get("event") == "stop" and seen.stopped_at is None:
            found[run] = seen._replace(stopped_at=moment)
        elif event.get("event") == "collect":
            host = str(event.get("host"))
            seen.not_collected.pop(host, None)
            if event.get("complete") is False:
                seen.not_collected[host] = str(event.get("problem"))
        elif event.get("event") == "ended" and not well and event.get("outcome") != "stopped":
            seen.failing.setdefault(str(event.get("host")), moment)
    return found


def state_name(host: str) -> str:
    """Returns where a host's state lies, relative to the run directory."""
    return f"logs/{host}.state.json"


def log_name(host: str, kind: str) -> str:
    """Returns where a host's log lies, relative to the run directory."""
    return f"logs/{host}.{kind}.txt"


def list_files(top: Path) -> dict[str, int]:
    """Returns every regular file below ``top`` with its size. Links are not followed: they lead anywhere."""
    found: dict[str, int] = {}
    pending = [("", str(top))]
    while pending:
        prefix, folder = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((prefix + entry.name + "/", entry.path))
                    elif entry.is_file(follow_symlinks=False):
                        found[prefix + entry.name] = entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return found


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
