"""Jobs as the login host handles them: submitted once, watched with one query for all, ended by their ids.

``<root>/<session>/<login>/jobs/<run>/`` holds a job's script, what became of its submission, and its words.
"""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..files import now_iso, read_json, run_path, write_json, write_text
from ..state import host_dir, read_state, run_dir
from . import query
from .command import PAUSE_S, SlurmAway, SlurmError, call
from .job import SCRIPT, only
from .states import OVER, WAITS, is_held, never_starts, phase_of

PAYLOAD = "#-- payload"
"""The line of a job script after which the program follows, for clusters without a shared file system."""

STOP, RELEASE = "USR2", "USR1"
"""Signals to a job script: end the run; its files were fetched."""

COMMENT = "deepep"
"""How the comments begin with which job scripts tell what they do."""

NEVER_S = 10.0
"""How long a pending reason that can never be met is looked at before it is believed."""

ACCOUNTING_S = 10.0
"""How long sacct may lag behind the controller."""


class Place(NamedTuple):
    """Where a session's files are on the login host: ``root`` is its user's directory there."""

    root: Path
    run_id: str
    login: str

    @property
    def base(self) -> Path:
        """The directory of the session, in which every host has one."""
        return self.root / self.run_id

    @property
    def own(self) -> Path:
        """The login host's own directory: program, plan, jobs."""
        return host_dir(self.root, self.run_id, self.login)

    def job(self, run: str) -> Path:
        """The directory of a job."""
        return run_path(self.own / "jobs", run)


def submit(
    place: Place, orders: Sequence[Mapping[str, Any]], shared: bool, work_dir: str, patience_s: float
) -> dict[str, dict[str, Any]]:
    """Submits jobs in order; returns for each run ``{"job_id", "argv", ...}`` or ``{"problem"}``.

    An order has ``run``, ``script`` (its text), ``after`` (``[[type, run or job id], ...]``) and ``options``
    for sbatch. A run that was submitted before keeps its job. Raises nothing for a job that is refused.
    """
    done: dict[str, dict[str, Any]] = {}
    for order in orders:
        run = str(order["run"])
        folder = place.job(run)
        before = read_json(folder / "submitted.json")
        if before is not None:
            done[run] = before
            continue
        try:
            after = [_dependency(kind, other, done, place) for kind, other in order["after"]]
        except SlurmError as error:
            done[run] = {"problem": str(error)}
            continue
        try:
            done[run] = _submit(
                place, run, order, [one for one in after if one], shared, work_dir, patience_s
            )
        except (SlurmError, OSError) as error:
            done[run] = {"problem": str(error)}
            continue
        write_json(folder / "submitted.json", done[run])
    return done


def _dependency(kind: str, other: str, done: Mapping[str, Mapping[str, Any]], place: Place) -> str:
    found = done.get(other) or read_json(place.job(other) / "submitted.json") or {}
    if "job_id" not in found:
        if kind == "afterany":
            return ""
        raise SlurmError(
            f"it depends on {other}, which was not submitted: {found.get('problem', 'not known')}"
        )
    return f"{kind}:{found['job_id']}"


def _submit(
    place: Place,
    run: str,
    order: Mapping[str, Any],
    after: Sequence[str],
    shared: bool,
    work_dir: str,
    patience_s: float,
) -> dict[str, Any]:
    folder = place.job(run)
    mark = f"{COMMENT} {place.run_id} {run}"
    script = folder / SCRIPT
    if shared:
        base, program, plan = place.base, place.own / "program", place.own / "plan.json"
        text = str(order["script"])
    else:
        base = Path(work_dir) / place.run_id
        program = base / "program"
        plan = program / "plan.json"
        text = str(order["script"]) + PAYLOAD + "\n" + payload(place, run)
    write_text(script, text, mode=0o700)
    argv = [
        "sbatch", "--parsable", "--chdir=/", "--no-requeue", f"--comment={mark}",
        *(["--output=/dev/null", "--error=/dev/null"] if not shared else [f"--output={folder}/job.txt"]),
        *([f"--dependency={','.join(after)}"] if after else []),
        *[str(option) for option in order.get("options") or ()],
        str(script), place.run_id, str(order["stamp"]), str(base), str(program), str(plan), str(base.parent),
    ]  # fmt: skip
    job_id = _sbatch(argv, mark, patience_s)
    return {"job_id": job_id, "argv": argv, "at": now_iso(), "shared": shared, "base": str(base)}


def _sbatch(argv: Sequence[str], mark: str, patience_s: float) -> str:
    """Returns the id of the new job. One whose answer got lost is looked for before it is repeated."""
    end = time.monotonic() + patience_s
    while True:
        done = call(argv)
        if done.code == 0:
            return done.out.strip().split(";")[0]
        if not done.away:
            raise SlurmError(f"sbatch: {done.message}")
        if time.monotonic() >= end:
            raise SlurmAway(f"sbatch: {done.message}")
        time.sleep(PAUSE_S)
        found = call(["squeue", "--me", "--noheader", "--states=all", "--format=%A|%k"])
        for line in found.out.splitlines():
            job_id, _, comment = line.strip().partition("|")
            if comment.strip() == mark:
                return job_id


def payload(place: Place, run: str) -> str:
    """Returns program and plan of one job as a compressed archive in base64, for the end of its script."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=6) as archive:
        program = place.own / "program"
        for path in sorted(program.rglob("*")):
            inside = path.relative_to(program)
            if "__pycache__" not in inside.parts and path.suffix != ".pyc" and path.is_file():
                archive.add(path, inside.as_posix(), recursive=False)
        text = json.dumps(only(read_json(place.own / "plan.json") or {"runs": []}, run)).encode()
        info = tarfile.TarInfo("plan.json")
        info.size, info.mode = len(text), 0o600
        archive.addfile(info, io.BytesIO(text))
    return base64.encodebytes(packed.getvalue()).decode()


def recorded(place: Place, runs: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Returns what became of the submissions of these runs, by the login host's own record."""
    found = {run: read_json(place.job(run) / "submitted.json") for run in runs}
    return {run: record for run, record in found.items() if record}


def watch(
    place: Place,
    jobs: Mapping[str, str],
    seen: Mapping[str, str],
    wait_s: float,
    poll_s: float,
    patience_s: float,
    shared: bool,
) -> dict[str, dict[str, Any]]:
    """Returns the jobs whose look is not the one in ``seen``, as soon as there is one.

    ``jobs`` maps runs to job ids. One query per ``poll_s`` for all of them, and one more for those that
    are over: a caller who has seen something waits before the first one, too. Raises SlurmAway, SlurmError.
    """
    end = time.monotonic() + wait_s
    while True:
        if seen:
            time.sleep(poll_s)
        changed = {
            run: found
            for run, found in look(place, jobs, patience_s, shared).items()
            if found["print"] != seen.get(run)
        }
        if changed or time.monotonic() >= end:
            return changed
        if not seen:
            time.sleep(poll_s)


def look(place: Place, jobs: Mapping[str, str], patience_s: float, shared: bool) -> dict[str, dict[str, Any]]:
    """Returns how each job stands: ``state``, ``reason``, ``nodes``, ``comment``, ``phase``, ``final``,
    ``hosts`` (their states, where files are shared) and ``print``, which differs once something changed."""
    # Runs may share a job.
    ids = list(dict.fromkeys(jobs.values()))
    known = query.queue(ids, patience_s)
    over = [job for job in ids if job not in known or phase_of(known[job].state) == OVER]
    finals = final_facts(over, {job: seen.state for job, seen in known.items()})
    found: dict[str, dict[str, Any]] = {}
    for run, job in jobs.items():
        seen = known.get(job)
        final = finals.get(job)
        state = str(final["state"]) if final else seen.state if seen else "UNKNOWN"
        hosts = states_below(place.base, run) if shared else {}
        facts: dict[str, Any] = {
            "job_id": job,
            "state": state,
            "reason": seen.reason if seen else "",
            "nodes": seen.nodes if seen else str((final or {}).get("nodes", "")),
            "comment": seen.comment if seen else "",
            "phase": OVER if final or seen is None else phase_of(state),
            "final": final,
            "hosts": hosts,
        }
        facts["print"] = "/".join([state, facts["reason"], facts["comment"], facts["phase"], *(
            f"{host}={one['status']},{one['phase']},{(one.get('progress') or {}).get('operation')}"
            for host, one in sorted(hosts.items())
        )])  # fmt: skip
        found[run] = facts
    return found


def final_facts(job_ids: Sequence[str], states: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Returns how jobs ended: from sacct, else from the controller's memory, else from its completion log.

    ``states`` has what squeue said. A job that nobody knows any more is ``UNKNOWN``.
    """
    found: dict[str, dict[str, Any]] = {}
    if not job_ids:
        return found
    end = time.monotonic() + ACCOUNTING_S
    while True:
        jobs = query.accounting([job for job in job_ids if job not in found])
        found.update({job: facts for job, facts in jobs.items() if phase_of(facts["state"]) == OVER})
        if len(found) == len(job_ids) or not jobs or time.monotonic() >= end:
            break
        time.sleep(1.0)
    for job in job_ids:
        if job not in found:
            facts = query.controller(job)
            if facts is None or phase_of(facts["state"]) != OVER:
                facts = query.completion_log(job) or facts
            found[job] = facts or {
                "job_id": job,
                "state": states.get(job, "UNKNOWN"),
                "steps": [],
                "source": "squeue",
            }
    return found


def states_below(base: Path, run: str) -> dict[str, dict[str, Any]]:
    """Returns the state of every host that has one, from the directory that the hosts share."""
    found = {}
    for folder in sorted(base.iterdir()) if base.is_dir() else ():
        state = read_state(run_dir(folder, run)) if (folder / "runs").is_dir() else None
        if state is not None:
            found[folder.name] = state
    return found


def hopeless(found: Mapping[str, Any], since_s: float) -> str | None:
    """Returns why a waiting job will never start, once its reason stayed for a while; None otherwise."""
    if found["phase"] != WAITS:
        return None
    meaning = never_starts(str(found["reason"]))
    return f"{meaning} ({found['reason']})" if meaning and since_s >= NEVER_S else None


def held(found: Mapping[str, Any]) -> bool:
    """Returns whether the job waits because somebody holds it."""
    return found["phase"] == WAITS and is_held(str(found["reason"]))


def cancel(jobs: Sequence[str], wait_s: float, poll_s: float, patience_s: float) -> dict[str, str]:
    """Ends jobs by their ids, gently first; returns their last states. What is over already stays as it is.

    A waiting job is cancelled. A running one is asked to end its run, so that its hosts record how; what
    has not done so after ``wait_s`` is cancelled.
    """
    known = query.queue(jobs, patience_s)
    open_jobs = {job: seen for job, seen in known.items() if phase_of(seen.state) != OVER}
    running = [job for job, seen in open_jobs.items() if seen.state == "RUNNING"]
    at_once = [job for job in open_jobs if job not in running]
    if at_once:
        call(["scancel", *at_once])
    if running:
        call(["scancel", "--batch", f"--signal={STOP}", *running])
    end = time.monotonic() + wait_s
    while True:
        known = query.queue(list(open_jobs), patience_s) if open_jobs else {}
        left = [
            job for job, seen in known.items() if phase_of(seen.state) != OVER and not _handing_over(seen)
        ]
        if not left:
            return {job: seen.state for job, seen in known.items()}
        if time.monotonic() >= end:
            call(["scancel", *left])
            return {job: "CANCELLED" if job in left else seen.state for job, seen in known.items()}
        time.sleep(poll_s)


def _handing_over(seen: query.Seen) -> bool:
    return seen.comment.startswith(f"{COMMENT} done")


def handing_over(found: Mapping[str, Any]) -> bool:
    """Returns whether the job's run has ended and its hosts wait for their files to be fetched."""
    return found["phase"] != OVER and str(found["comment"]).startswith(f"{COMMENT} done")


def release(job_id: str) -> None:
    """Lets a job go whose files were fetched."""
    call(["scancel", "--batch", f"--signal={RELEASE}", job_id])


def user_name() -> str:
    """Returns the user that submits."""
    return os.environ.get("USER") or str(os.getuid())
