"""A session: one execution of a bundle, as the controller knows it. Its directory is the result tree.

Besides the files for users it holds ``.state/``: what the controller saw of each host and run. Ansible runs
every host's task in a process of its own, so they tell each other through these files.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from . import events
from .files import host_name, now_iso, read_json, run_path, write_json
from .own_bundle import keep_bundle
from .plan_diff import differences
from .preflight.refusal import different_images, refusal

SCHEMA = 1
COMPLETED = ("PASS", "UNVERIFIED")
"""Verdicts after which a run that waits for this one may start."""

_SILENT = "silent-"
"""The note since when a host does not answer for a run."""

SUBMITTED = "submitted"
"""The note that Slurm was asked to take a run's job: from then on there may be one, whatever was answered."""


class SessionError(Exception):
    """The session cannot be opened or found; the text says why and what to do."""


class _Plan(NamedTuple):
    stamp: tuple[int, int]
    content: dict[str, Any]
    runs: dict[str, dict[str, Any]]


_PLANS: dict[str, _Plan] = {}
"""Plans read by this process or, before Ansible forked it, by its parent: with many hosts they are large."""


def _load_plan(path: Path) -> _Plan:
    """Returns a plan and its runs by id; what was read before is read again only if the file changed."""
    try:
        found = path.stat()
    except OSError:
        raise SessionError(f"{path} is missing or damaged") from None
    stamp = (found.st_mtime_ns, found.st_size)
    known = _PLANS.get(str(path))
    if known is None or known.stamp != stamp:
        content = read_json(path)
        if content is None:
            raise SessionError(f"{path} is missing or damaged")
        known = _PLANS[str(path)] = _Plan(stamp, content, {run["id"]: run for run in content["runs"]})
    return known


def preload(folder: Path) -> None:
    """Reads the plan of a session for this process and those that are forked from it."""
    _load_plan(folder / "plan.json")


class Session(NamedTuple):
    """One execution of a bundle; the same four values as the Ansible fact ``deepep_session``."""

    run_id: str
    results_dir: str
    stamp: str
    bundle_dir: str

    @classmethod
    def of_fact(cls, fact: Mapping[str, Any]) -> Session:
        """Returns the session that the Ansible fact names."""
        return cls(*(str(fact[field]) for field in cls._fields))

    @property
    def folder(self) -> Path:
        """The session's directory, the result tree."""
        return Path(self.results_dir)

    # ---- the plan ----

    def plan(self) -> dict[str, Any]:
        """Returns plan.json as the session keeps it. Raises SessionError."""
        return _load_plan(self.folder / "plan.json").content

    def run(self, key: str) -> dict[str, Any]:
        """Returns one run of the plan. Raises SessionError for an id that it does not have."""
        found = _load_plan(self.folder / "plan.json").runs.get(key)
        if found is None:
            raise SessionError(f"the plan has no run {key!r}")
        return dict(found)

    def run_dir(self, key: str) -> Path:
        """Returns the directory of a run in the result tree."""
        return run_path(self.folder, key)

    @property
    def scripts(self) -> Path:
        """Where the job scripts of the bundle that is being played are; empty over SSH."""
        return self.folder / ".state" / "jobs"

    def kept(self, key: str) -> bool:
        """Tells whether a run's results are those of an earlier execution, and nothing is done about it."""
        repeated = self._repeated()
        return repeated is not None and key not in repeated

    def played(self) -> list[dict[str, Any]]:
        """Returns the runs of the plan that this execution plays: those that are not kept."""
        repeated = self._repeated()
        return [run for run in self.plan()["runs"] if repeated is None or run["id"] in repeated]

    def _repeated(self) -> list[str] | None:
        executions = self.describe().get("executions") or [{}]
        repeated: list[str] | None = executions[-1].get("repeated")
        return repeated

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
        if state.get("outcome") == "lost":
            write_json(self._away_path(host), {"run": key, "cause": state["cause"]})
        else:
            self.back(host)

    def silent_since(self, key: str, host: str, now: float) -> float:
        """Returns since when a host does not answer for a run: ``now`` where it did until then.

        Kept in a file: the next look may be another process's.
        """
        note = self.note(key, _SILENT + host_name(host))
        if note is None:
            note = {"since": now}
            self.take_note(key, _SILENT + host_name(host), note)
        return float(note["since"])

    def end_silence(self, key: str, host: str) -> None:
        """Notes that a host answered for a run or was given up: the next silence has its own start."""
        self.note_path(key, _SILENT + host_name(host)).unlink(missing_ok=True)

    def _away_path(self, host: str) -> Path:
        return self.folder / ".state" / "away" / f"{host_name(host)}.json"

    def away(self, host: str) -> dict[str, Any] | None:
        """Returns the ``run`` that lost a host and the ``cause``, None where it was heard of since."""
        return read_json(self._away_path(host))

    def back(self, host: str) -> None:
        """Notes that a host was heard of."""
        self._away_path(host).unlink(missing_ok=True)

    def started(self, key: str) -> bool:
        """Tells whether anything of a run may be on its hosts."""
        if self.note(key, "rendezvous") is not None or self.note(key, SUBMITTED) is not None:
            return True
        folder = self.note_path(key, "x").parent
        return any(folder.glob("host-*.json"))

    def unsettled(self, run: Mapping[str, Any], host: str | None = None) -> bool:
        """Tells whether there may be more of a run on its hosts (or that one) than is here.

        It was started, and has no verdict or was not fetched whole: the controller or the network was lost.
        """
        key = run["id"]
        if self.kept(key) or self.skipped(key) or not self.started(key) or self.verdict(key) == "PASS":
            return False
        hosts = [host] if host else [member["name"] for member in run["hosts"]]
        notes = [self.note(key, "collected-" + name) or {} for name in hosts]
        return self.verdict(key) is None or not all(note.get("complete") for note in notes)

    def may_run(self, key: str, host: str) -> bool:
        """Tells whether a run may still go on on a host, as far as the controller knows."""
        if self.kept(key) or self.skipped(key) or not self.started(key):
            return False
        if (self.note(key, "collected-" + host_name(host)) or {}).get("complete"):
            return False
        state = self.host_state(key, host)
        if state is None:
            return self.note(key, "absent-" + host_name(host)) is None
        return state["status"] != "ended" or state["outcome"] == "lost"

    def keep_absent(self, key: str, host: str) -> None:
        """Keeps that a host which nobody saw start a run said that it has none of it."""
        self.take_note(key, "absent-" + host_name(host), {"at": now_iso()})

    def forget_lost(self, key: str) -> None:
        """Forgets which hosts were out of reach when a run was last looked at, and since when.

        Nobody looked since then: a host may have been back all the time.
        """
        folder = self.note_path(key, "x").parent
        for path in folder.glob("host-*.json"):
            if (read_json(path) or {}).get("outcome") == "lost":
                path.unlink()
        for path in folder.glob(_SILENT + "*.json"):
            path.unlink()

    def keep_answer(self, host: str, problem: str | None) -> None:
        """Keeps whether a host that was asked from outside the run (``look``, ``stop``) answered."""
        path = self.folder / ".state" / "answers" / f"{host_name(host)}.json"
        write_json(path, {"problem": problem, "at": now_iso()})

    def answer(self, host: str) -> dict[str, Any] | None:
        """Returns ``problem`` (None: it answered) and ``at`` of a host's last answer."""
        return read_json(self.folder / ".state" / "answers" / f"{host_name(host)}.json")

    def keep_staged(self, host: str, interpreter: str, program: str, work_dir: str) -> None:
        """Keeps with what, and where on a host, the program lies that answers for it (``verb.py``).

        ``work_dir`` is absolute: its default depends on the user, and another may ask later.
        """
        path = self.folder / ".state" / "staged" / f"{host_name(host)}.json"
        write_json(path, {"interpreter": interpreter, "program": program, "work_dir": work_dir})

    def staged(self, host: str) -> dict[str, Any] | None:
        """Returns ``interpreter``, ``program`` and ``work_dir`` of a host, None before it was staged."""
        return read_json(self.folder / ".state" / "staged" / f"{host_name(host)}.json")

    def preflight(self, host: str) -> dict[str, Any] | None:
        """Returns a host's preflight, None before there was one."""
        return read_json(self.folder / "preflight" / f"{host_name(host)}.json")

    def keep_preflight(self, host: str, found: Mapping[str, Any]) -> None:
        """Keeps a host's preflight, which says anew whether it can be reached."""
        self.back(host)
        write_json(
            self.folder / "preflight" / f"{host_name(host)}.json", {"schema": 1, "host": host, **found}
        )

    def compared(self) -> list[dict[str, Any]]:
        """Returns what comparing the hosts of each run with each other gave, [] before that."""
        return list((read_json(self.folder / "preflight.json") or {}).get("across") or ())

    def verdict(self, key: str) -> str | None:
        """Returns the verdict of a run that was judged."""
        return verdict_of(self.folder, key)

    def skipped(self, key: str) -> dict[str, Any] | None:
        """Returns why a run was not started at all, None if it was."""
        return read_json(self.run_dir(key) / "skipped.json")

    def skip(self, key: str, reason: str, because: str | None = None) -> None:
        """Records that a run is not started; the first reason stays, and so does what is kept."""
        path = self.run_dir(key) / "skipped.json"
        if not path.exists() and not self.kept(key):
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

    def run_ids(self) -> list[str]:
        """Returns under which ids this session was ever on its hosts."""
        earlier = [str(one["run_id"]) for one in self.describe().get("executions") or ()]
        return list(dict.fromkeys([*earlier, self.run_id]))

    def end(self, status: str) -> None:
        """Records that the session, and so its last execution, has ended as ``status``."""
        now = now_iso()
        executions = list(self.describe().get("executions") or [])
        if executions:
            # One that was lost stays so, whoever ends the session.
            its = "lost" if executions[-1].get("status") == "lost" else status
            executions[-1] = {**executions[-1], "status": its, "ended_at": now}
        self.update(status=status, ended_at=now, executions=executions)

    def lose(self) -> None:
        """Records that the controller of the last execution is gone, where that has not ended."""
        executions = list(self.describe().get("executions") or [])
        if executions and executions[-1].get("status") == "running":
            executions[-1] = {**executions[-1], "status": "lost"}
            self.update(executions=executions)


def verdict_of(folder: Path, key: str) -> str | None:
    """Returns the verdict of a run in a session's directory, None before it was judged for good.

    A report that was made before anybody collected says what was known then, not how the run ended.
    """
    notes = run_path(folder / ".state" / "runs", key)
    if (notes / "rendezvous.json").exists() and not any(notes.glob("collected*.json")):
        return None
    found = read_json(run_path(folder, key) / "verdict.json")
    return str(found["verdict"]) if found and "verdict" in found else None


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
    session = _named(now, folder, bundle_dir)
    keep_bundle(bundle_dir, folder)
    write_json(folder / "plan.json", plan)
    _keep_scripts(bundle_dir, session)
    execution = _execution(session, controller, ansible_version, None)
    write_json(
        folder / "run.json",
        {
            "schema": SCHEMA,
            "run_id": session.run_id,
            "scenario": scenario,
            "stamp": session.stamp,
            "started_at": execution["started_at"],
            "ended_at": None,
            "bundle_dir": session.bundle_dir,
            "controller": controller,
            "ansible_version": ansible_version,
            "status": "running",
            "executions": [execution],
        },
    )
    events.append(folder, "session", status="opened", run_id=session.run_id, scenario=scenario)
    return session


def _keep_scripts(bundle_dir: Path, session: Session) -> None:
    """Keeps the job scripts of the bundle that is played: a resumed session's are not its first bundle's."""
    shutil.rmtree(session.scripts, ignore_errors=True)
    if (bundle_dir / "jobs").is_dir():
        shutil.copytree(bundle_dir / "jobs", session.scripts)


def _named(now: datetime, folder: Path, bundle_dir: Path) -> Session:
    stamp = f"{now:%Y%m%d_%H%M%S}"
    run_id = f"{stamp}-{secrets.token_hex(3)}"
    return Session(run_id, str(folder.resolve()), stamp, str(bundle_dir.resolve()))


def _execution(
    session: Session, controller: str, ansible_version: str, repeated: Sequence[str] | None
) -> dict[str, Any]:
    return {
        "run_id": session.run_id,
        "stamp": session.stamp,
        "started_at": now_iso(),
        "ended_at": None,
        "status": "running",
        "controller": controller,
        "ansible_version": ansible_version,
        "repeated": None if repeated is None else list(repeated),
    }


def resume_session(
    bundle_dir: Path, folder: Path, controller: str, ansible_version: str, everything: bool
) -> Session:
    """Opens an ended or lost session again, to repeat runs of the bundle in it. Raises SessionError.

    They are the bundle's runs that have no PASS, or all of them with ``everything``; what they left goes to
    ``earlier/``. All others are kept as they are. The same directory under a new ``run_id``: on the hosts
    nothing of before is in the way.
    """
    before = find_session(folder)
    bundle = read_json(bundle_dir / "plan.json")
    if bundle is None:
        raise SessionError(f"{bundle_dir}/plan.json is missing or damaged: compile the bundle again")
    changed = differences(before.plan(), bundle, part=True)
    if changed:
        raise SessionError(f"the bundle is not that of {folder}: {'; '.join(changed[:10])}")
    other = playing(folder)
    if other:
        raise SessionError(f"{folder} is still being played by {other}: wait for its end, or stop it")
    repeated = [run["id"] for run in bundle["runs"] if everything or before.verdict(run["id"]) != "PASS"]
    lost = [
        run["id"] for run in bundle["runs"] if before.verdict(run["id"]) is None and before.unsettled(run)
    ]
    if lost:
        raise SessionError(
            f"{', '.join(lost[:5])} may still run on the hosts: play adopt.yml first, which waits for them, "
            "fetches and judges them"
        )
    before.lose()
    session = _named(datetime.now(), folder, Path(before.bundle_dir))
    for key in sorted(repeated, key=lambda key: key.count("/")):
        _put_away(before, key, folder / EARLIER / before.run_id)
    _keep_scripts(bundle_dir, session)
    stop = folder / ".state" / "stop.json"
    if stop.exists():
        stop.unlink()
    executions = list(before.describe().get("executions") or [])
    executions.append(_execution(session, controller, ansible_version, repeated))
    before.update(
        run_id=session.run_id,
        stamp=session.stamp,
        ended_at=None,
        controller=controller,
        ansible_version=ansible_version,
        status="running",
        executions=executions,
    )
    events.append(folder, "session", status="resumed", run_id=session.run_id, repeated=len(repeated))
    return session


EARLIER = "earlier"
"""Below a session: what runs left that were repeated, by the ``run_id`` of then."""


def _put_away(session: Session, key: str, earlier: Path) -> None:
    """Moves what a run left out of the way; a run that was never started left nothing of worth."""
    folder = session.run_dir(key)
    target = run_path(earlier, key)
    if folder.is_dir():
        if session.started(key) and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.replace(target)
        else:
            shutil.rmtree(folder)
    shutil.rmtree(session.note_path(key, "x").parent, ignore_errors=True)


def _lock_path(folder: Path) -> Path:
    return folder / ".state" / "controller.lock"


def hold(folder: Path) -> int | None:
    """Marks a session as being played by this process, until the file descriptor that is returned is closed.

    None where another process does. The mark ends with the process, however that ends: it is a lock of the
    process, not of the open file, which Ansible's workers inherit, who may outlive a killed Ansible.
    """
    path = _lock_path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": os.uname().nodename}).encode(), 0)
    return handle


def playing(folder: Path) -> str | None:
    """Returns who plays a session at this moment, as a text, or None."""
    try:
        handle = os.open(_lock_path(folder), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        found = read_json(_lock_path(folder)) or {}
        return f"process {found.get('pid', '?')} on {found.get('host', '?')}"
    finally:
        os.close(handle)
    return None


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

    A stop of the session, a host that did not pass its preflight or its self-test, different images, or a run
    that this one depends on.
    """
    stop = session.stop_request()
    if stop:
        return {"reason": f"the session was stopped: {stop['cause']}", "because": None}
    hosts = {host["name"]: session.preflight(host["name"]) for host in run["hosts"]}
    refused = refusal(run, hosts, session.compared())
    if refused:
        return {"reason": refused, "because": None}
    notes = {host: session.note(run["id"], f"image-{host}") for host in hosts}
    different = different_images(notes)
    if different:
        return {"reason": different, "because": None}
    alone = session.plan().get("selftest") or {}
    for host in hosts:
        test = alone.get(host)
        if not test or test == run["id"] or session.verdict(test) in COMPLETED:
            continue
        # With --only the self-tests are not made; what was never tried says nothing against a host.
        if session.verdict(test) or not session.kept(test):
            reason = f"host {host} did not pass its self-test: {_first_reason(session, test)}"
            return {"reason": reason, "because": test}
    for dependency in run.get("after", ()):
        other = dependency["run"]
        if dependency["type"] in ("start_post_comp", "pre_test"):
            verdict = session.verdict(other)
            if verdict not in COMPLETED:
                ended = f"ended {verdict}" if verdict else "has no verdict"
                return {"reason": f"it starts after {other} has completed, which {ended}", "because": other}
        elif dependency["type"] == "post_test" and session.skipped(other) is not None:
            return {"reason": f"it follows {other}, which was not started", "because": other}
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
