"""A session: one execution of a bundle, as the controller knows it. Its directory is the result tree.

Besides the files for users it holds ``.state/``: what the controller saw of each host and run. Ansible runs
every host's task in a process of its own, so they tell each other through these files.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from . import events
from .files import host_name, now_iso, read_json, run_path, write_json
from .preflight.refusal import refusal

SCHEMA = 1
COMPLETED = ("PASS", "UNVERIFIED")
"""Verdicts after which a run that waits for this one may start."""


class SessionError(Exception):
    """The session cannot be opened or found; the text says why and what to do."""


class Session(NamedTuple):
    """One execution of a bundle; the same four values as the Ansible fact ``deepep_session``."""

    run_id: str
    results_dir: str
    stamp: str
    bundle_dir: str

    @property
    def folder(self) -> Path:
        """The session's directory, the result tree."""
        return Path(self.results_dir)

    # ---- the plan ----

    def plan(self) -> dict[str, Any]:
        """Returns plan.json as the session keeps it. Raises SessionError."""
        plan = read_json(self.folder / "plan.json")
        if plan is None:
            raise SessionError(f"{self.results_dir}/plan.json is missing or damaged")
        return plan

    def run(self, key: str) -> dict[str, Any]:
        """Returns one run of the plan. Raises SessionError for an id that it does not have."""
        for run in self.plan()["runs"]:
            if run["id"] == key:
                return dict(run)
        raise SessionError(f"the plan has no run {key!r}")

    def run_dir(self, key: str) -> Path:
        """Returns the directory of a run in the result tree."""
        return run_path(self.folder, key)

    # ---- what the controller saw ----

    def note_path(self, key: str, name: str) -> Path:
        """Returns the file in which the controller keeps ``name`` (plain letters) about a run."""
        return run_path(self.folder / ".state" / "runs", key) / f"{name}.json"

    def note(self, key: str, name: str) -> dict[str, Any] | None:
        """Returns what was kept as ``name`` about a run."""
        return read_json(self.note_path(key, name))

    def take_note(self, key: str, name: str, value: Mapping[str, Any]) -> None:
        """Keeps ``value`` as ``name`` about a run."""
        write_json(self.note_path(key, name), dict(value))

    def host_state(self, key: str, host: str) -> dict[str, Any] | None:
        """Returns the last state of a host in a run that the controller saw."""
        return self.note(key, "host-" + host_name(host))

    def keep_host_state(self, key: str, host: str, state: Mapping[str, Any]) -> None:
        """Keeps the state of a host in a run, for the other hosts' tasks and for job.toml."""
        self.take_note(key, "host-" + host_name(host), state)

    def preflight(self, host: str) -> dict[str, Any] | None:
        """Returns a host's preflight, None before there was one."""
        return read_json(self.folder / "preflight" / f"{host_name(host)}.json")

    def keep_preflight(self, host: str, found: Mapping[str, Any]) -> None:
        """Keeps a host's preflight."""
        write_json(
            self.folder / "preflight" / f"{host_name(host)}.json", {"schema": 1, "host": host, **found}
        )

    def compared(self) -> list[dict[str, Any]]:
        """Returns what comparing the hosts of each run with each other gave, [] before that."""
        return list((read_json(self.folder / "preflight.json") or {}).get("across") or ())

    def verdict(self, key: str) -> str | None:
        """Returns the verdict of a run that was judged."""
        found = read_json(self.run_dir(key) / "verdict.json")
        return str(found["verdict"]) if found and "verdict" in found else None

    def skipped(self, key: str) -> dict[str, Any] | None:
        """Returns why a run was not started at all, None if it was."""
        return read_json(self.run_dir(key) / "skipped.json")

    def skip(self, key: str, reason: str, because: str | None = None) -> None:
        """Records that a run is not started; the first reason stays."""
        path = self.run_dir(key) / "skipped.json"
        if not path.exists():
            write_json(path, {"reason": reason, "because": because, "at": now_iso()})
            events.append(self.results_dir, "skip", run=key, reason=reason, because=because)

    def stop_request(self) -> dict[str, Any] | None:
        """Returns the request to stop the whole session, if there was one."""
        return read_json(self.folder / ".state" / "stop.json")

    def request_stop(self, cause: str) -> None:
        """Has no further run of this session start."""
        path = self.folder / ".state" / "stop.json"
        if not path.exists():
            write_json(path, {"cause": cause, "at": now_iso()})

    def describe(self) -> dict[str, Any]:
        """Returns run.json, {} where it is missing."""
        return read_json(self.folder / "run.json") or {}

    def update(self, **changes: Any) -> None:
        """Changes entries of run.json."""
        write_json(self.folder / "run.json", {**self.describe(), **changes})


def open_session(
    bundle_dir: Path, results_root: Path, controller: str, ansible_version: str, given: Path | None = None
) -> Session:
    """Makes the directory of a new session and returns it. Raises SessionError.

    ``given`` is that directory where the caller chooses it (an empty one may be there already); otherwise it
    gets a name of its own below ``results_root``.
    """
    plan = read_json(bundle_dir / "plan.json")
    if plan is None:
        raise SessionError(f"{bundle_dir}/plan.json is missing or damaged: compile the bundle again")
    scenario = host_name(plan["scenario"]["name"])
    now = datetime.now()
    folder = given
    if folder is not None:
        _make_given(folder)
    while folder is None:
        now = datetime.now()
        candidate = results_root / f"{scenario}_{now:%Y-%m-%d_%H-%M-%S}"
        try:
            candidate.mkdir(parents=True)
            folder = candidate
        except FileExistsError:
            # Another session began in the same second.
            time.sleep(0.2)
        except OSError as error:
            raise SessionError(
                f"cannot create {candidate}: {error.strerror}; set deepep_results_dir to a writable directory"
            ) from error
    stamp = f"{now:%Y%m%d_%H%M%S}"
    session = Session(
        f"{stamp}-{secrets.token_hex(3)}", str(folder.resolve()), stamp, str(bundle_dir.resolve())
    )
    write_json(folder / "plan.json", plan)
    write_json(
        folder / "run.json",
        {
            "schema": SCHEMA,
            "run_id": session.run_id,
            "scenario": scenario,
            "stamp": stamp,
            "started_at": now_iso(),
            "ended_at": None,
            "bundle_dir": session.bundle_dir,
            "controller": controller,
            "ansible_version": ansible_version,
            "status": "running",
        },
    )
    events.append(folder, "session", status="opened", run_id=session.run_id, scenario=scenario)
    return session


def _make_given(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SessionError(f"cannot create {folder}: {error.strerror}") from error
    if (folder / "run.json").exists():
        raise SessionError(f"{folder} holds a session already: leave deepep_results out to open a new one")


def find_session(folder: Path) -> Session:
    """Returns the session whose directory is ``folder``. Raises SessionError."""
    described = read_json(folder / "run.json")
    if described is None or not all(key in described for key in ("run_id", "stamp", "bundle_dir")):
        raise SessionError(f"{folder} is no result directory: it has no readable run.json")
    return Session(described["run_id"], str(folder.resolve()), described["stamp"], described["bundle_dir"])


def newest_session(results_root: Path) -> Session:
    """Returns the session below ``results_root`` that was started last. Raises SessionError."""
    found: list[tuple[str, Path]] = []
    for folder in results_root.iterdir() if results_root.is_dir() else ():
        described = read_json(folder / "run.json")
        if described:
            found.append((str(described.get("started_at")), folder))
    if not found:
        raise SessionError(f"no session below {results_root}: name one with -e deepep_results=DIRECTORY")
    return find_session(max(found)[1])


def on_one_machine(plan: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    """Returns whether all hosts of a run are one machine, which its loopback address reaches."""
    hosts = [plan["hosts"][member["name"]] for member in run["hosts"]]
    labels = {host.get("one_machine") for host in hosts}
    return (
        len(hosts) == 1
        or (len(labels) == 1 and None not in labels)
        or all(host.get("connection") == "local" for host in hosts)
    )


def gate(session: Session, run: Mapping[str, Any]) -> dict[str, str | None] | None:
    """Returns ``{"reason", "because"}`` where this run must not start now, else None.

    A stop of the session, a host that did not pass its preflight, or a run that this one depends on.
    """
    stop = session.stop_request()
    if stop:
        return {"reason": f"the session was stopped: {stop['cause']}", "because": None}
    hosts = {host["name"]: session.preflight(host["name"]) for host in run["hosts"]}
    refused = refusal(run, hosts, session.compared())
    if refused:
        return {"reason": refused, "because": None}
    alone = session.plan().get("selftest") or {}
    for host in hosts:
        test = alone.get(host)
        if test and test != run["id"] and session.verdict(test) not in COMPLETED:
            reason = f"host {host} did not pass its self-test: {_first_reason(session, test)}"
            return {"reason": reason, "because": test}
    for dependency in run.get("after", ()):
        other = dependency["run"]
        if dependency["type"] == "start_post_comp":
            verdict = session.verdict(other)
            if verdict not in COMPLETED:
                ended = f"ended {verdict}" if verdict else "has no verdict"
                return {"reason": f"it starts after {other} has completed, which {ended}", "because": other}
        elif dependency["type"] == "start_post_init" and not _started(session, other):
            return {"reason": f"it starts once {other} runs, which was not started", "because": other}
    return None


def _first_reason(session: Session, key: str) -> str:
    found = read_json(session.run_dir(key) / "verdict.json") or {}
    reasons = found.get("reasons") or [{}]
    return f"{found.get('verdict', 'it has no verdict')}: {reasons[0].get('text', 'see its directory')}"


def _started(session: Session, key: str) -> bool:
    if session.skipped(key) is not None:
        return False
    states = [session.host_state(key, host["name"]) for host in session.run(key)["hosts"]]
    return all(state is not None and state.get("outcome") in (None, "exited") for state in states)
