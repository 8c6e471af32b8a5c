"""What a session's directory says of its runs, finished or under way."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HostState:
    """One host in one run, as the controller last saw it."""

    host: str
    status: str
    phase: str
    progress: str
    elapsed_s: float | None
    ended: bool = False
    """Its supervisor saw the program's end."""
    seen_s_ago: float = 0.0
    """How old this is."""


@dataclass(frozen=True, slots=True)
class RunState:
    """One run: its verdict, or how its hosts stand."""

    id: str
    verdict: str | None
    limit_s: float
    hosts: tuple[str, ...]
    seen: tuple[HostState, ...]
    started: bool = False
    """Whether it may be on its hosts, though nobody has seen it there: the controller may be lost since."""

    @property
    def under_way(self) -> bool:
        """Started on a host and not judged yet."""
        return self.verdict is None and (self.started or bool(self.seen))

    @property
    def waits_on_hosts(self) -> bool:
        """Ended on every host and not judged yet: its results wait there."""
        return (
            self.verdict is None and len(self.seen) == len(self.hosts) and all(one.ended for one in self.seen)
        )


def runs(session: Path) -> Iterator[RunState]:
    """Yields the plan's runs in order. A file that is missing or half there counts as nothing known."""
    from compiler.resources import host_code

    host_code()
    from deepep_host.session import verdict_of

    plan = _read(session / "plan.json")
    planned = plan.get("runs")
    for run in planned if isinstance(planned, list) else ():
        key, names = str(run["id"]), tuple(str(host["name"]) for host in run["hosts"])
        notes = session / ".state" / "runs" / key
        seen = [(name, notes / f"host-{name}.json") for name in names]
        yield RunState(
            id=key,
            verdict=verdict_of(session, key),
            limit_s=float(run["time_limit_s"]),
            hosts=names,
            seen=tuple(_host(name, state, _age_s(path)) for name, path in seen if (state := _read(path))),
            started=(notes / "rendezvous.json").is_file(),
        )


def may_run(session: Path) -> dict[str, tuple[str, ...]]:
    """Returns the hosts on which each run may still go on, for runs with such hosts; {} without a plan."""
    from compiler.resources import host_code

    host_code()
    from deepep_host.session import SessionError, find_session

    try:
        found = find_session(session)
        runs = found.plan()["runs"]
    except SessionError:
        return {}
    hosts = {
        run["id"]: tuple(
            member["name"] for member in run["hosts"] if found.may_run(run["id"], member["name"])
        )
        for run in runs
    }
    return {run: names for run, names in hosts.items() if names}


def problems(session: Path) -> dict[str, str]:
    """Returns why hosts did not answer when they were asked last (``look``, ``stop``), by host."""
    notes = {path.stem: _read(path) for path in sorted((session / ".state" / "answers").glob("*.json"))}
    return {host: str(note["problem"]) for host, note in notes.items() if note.get("problem")}


def forget_answers(session: Path) -> None:
    """Forgets what hosts answered before they are asked anew."""
    shutil.rmtree(session / ".state" / "answers", ignore_errors=True)


def is_played(session: Path) -> bool:
    """Tells whether a playbook works on a session at this moment."""
    from compiler.resources import host_code

    host_code()
    from deepep_host.session import playing

    return playing(session) is not None


def live_log(session: Path, run: str, host: str, stream: str) -> Path:
    """Returns where ``look.yml`` gathers a stream (``stdout``, ``stderr``) of a run that is under way."""
    return session / ".state" / "runs" / run / f"live-{host}.{stream}.txt"


def final_log(session: Path, run: str, host: str, stream: str) -> Path:
    """Returns where the collected stream lies."""
    return session / run / "logs" / f"{host}.{stream}.txt"


def _age_s(path: Path) -> float:
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return 0.0


def _host(name: str, state: Mapping[str, object], seen_s_ago: float) -> HostState:
    progress = state.get("progress")
    text = ""
    if isinstance(progress, dict) and progress.get("total"):
        text = f"{progress.get('operation') or ''} {progress.get('done')}/{progress['total']}".strip()
    elapsed = state.get("elapsed_s")
    return HostState(
        host=name,
        status=str(state.get("outcome") or state.get("status") or "unknown"),
        phase=str(state.get("phase") or ""),
        progress=text,
        elapsed_s=float(elapsed) if isinstance(elapsed, int | float) else None,
        ended=state.get("status") == "ended",
        seen_s_ago=seen_s_ago,
    )


def _read(path: Path) -> Mapping[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
