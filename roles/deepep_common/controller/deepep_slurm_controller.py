"""What the action plugins for Slurm share: a session's jobs, from their start to their verdicts.

Everything goes through the login host, which is the one host that Ansible talks to.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepep_carrier import MIB, Carrier, Gone, note_collected
from deepep_controller import Answer, DeepEPAction, told_at_end
from deepep_host import events
from deepep_host.assemble import distribute, finish_run
from deepep_host.cleanup import DAY_S, KEEP_DAYS
from deepep_host.files import host_name, now_iso, read_json, write_json, write_text
from deepep_host.incoming import Busy, Incoming
from deepep_host.judge import judge_run
from deepep_host.pack import BadArchive
from deepep_host.session import COMPLETED, Session
from deepep_host.slurm.job import ALL, SCRIPT, Member, NotInPlan, members
from deepep_host.slurm.jobs import handing_over, held, hopeless
from deepep_host.slurm.records import complete_states, ending_of, write_job
from deepep_host.slurm.states import OVER, WAITS
from deepep_host.state import new_state

INLINE_BYTES = 4 * MIB
"""Files of all hosts of a run that come along with the first answer."""

CARRY_S = 60.0
"""How long the login host may be away while parts are fetched from it."""

PATIENCE_S = 300.0
"""How long Slurm's controller, or the login host, may be away before a session gives up on its jobs."""

STOP_S = 60.0
"""How long jobs may take to end their runs by themselves once they are asked to."""


class SlurmAction(DeepEPAction):
    """Base of the plugins. A job is known by the note ``slurm`` of its run: ``{"job_id", "job", ...}``."""

    ARGUMENTS = frozenset({"session", "work_dir", "limit_mb"})

    def ask(self, session: Session, do: str, **given: Any) -> Answer:
        """Has the login host do one thing for a session."""
        return self.ask_login(session.run_id, self._slurm(session), do, **given)

    def ask_login(self, run_id: str, slurm: Mapping[str, Any], do: str, **given: Any) -> Answer:
        """Has the login host do one thing; ``slurm`` is that part of a plan."""
        return self.call(
            "deepep_slurm",
            run_id=run_id,
            login=self.host,
            shared_dir=slurm["shared_dir"] or "",
            work_dir=self.argument("work_dir", "") or slurm["work_dir"] or "",
            do=do,
            given=json.dumps(given),
        )

    def keep_s(self) -> float:
        """Returns for how long what nobody collected stays on the login host, in s."""
        return float(self.argument("keep_days", KEEP_DAYS)) * DAY_S

    def _slurm(self, session: Session) -> dict[str, Any]:
        return dict(session.plan()["slurm"])

    # ---- which jobs there are ----

    def job(self, session: Session, key: str) -> dict[str, Any] | None:
        """Returns the job of a run as it was submitted, None before that."""
        return session.note(key, "slurm")

    def submitted(self, session: Session) -> dict[str, dict[str, Any]]:
        """Returns the jobs of all runs without a verdict, also those that only the login host knows of.

        A controller that was lost between submitting and noting finds its jobs here.
        """
        plan = session.plan()
        wanted = [
            run["id"]
            for run in plan["runs"]
            if session.skipped(run["id"]) is None and not session.kept(run["id"])
        ]
        found = {key: job for key in wanted if (job := self.job(session, key))}
        unknown = [key for key in wanted if key not in found]
        if unknown:
            names = [ALL] if plan["slurm"]["one_job"] else unknown
            answer = self.ask(session, "recorded", runs=names)
            for name, record in (answer.values.get("jobs") or {}).items() if not answer.problem else ():
                for key in unknown if plan["slurm"]["one_job"] else [name]:
                    found[key] = self.keep_job(session, key, name, record)
        return {key: job for key, job in found.items() if session.verdict(key) is None}

    def keep_job(self, session: Session, key: str, name: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """Notes the job of a run."""
        job = {"job": name, **record}
        session.take_note(key, "slurm", job)
        return job

    # ---- what a look at a job tells ----

    def observe(self, session: Session, key: str, found: Mapping[str, Any]) -> None:
        """Keeps what a look showed, for other tasks and for ``status``, and tells what changed."""
        before = session.note(key, "seen") or {}
        now = {name: found[name] for name in ("job_id", "state", "reason", "nodes", "comment", "phase")}
        started = before.get("started_at") or (now_iso() if found["phase"] != WAITS else None)
        since = before.get("since") if before.get("state") == found["state"] else time.time()
        session.take_note(key, "seen", {**now, "started_at": started, "since": since or time.time()})
        if found["phase"] != WAITS:
            self._know_hosts(session, key, str(found["nodes"]))
        self._meeting(session, key, str(found["comment"]))
        for host in session.run(key)["hosts"]:
            state = found["hosts"].get(host["name"]) if found["hosts"] else None
            if state is None and found["phase"] != OVER:
                # So that `status` has something to show: the job's state stands for the host's.
                state = {
                    **new_state(session.run_id, key, host["name"]),
                    "status": str(found["state"]).lower(),
                }
                state["phase"] = found["reason"] if found["phase"] == WAITS else None
            if state is not None:
                self._host(session, key, host["name"], state)
        if before.get("state") != found["state"] or before.get("reason") != found["reason"]:
            reason = f" ({found['reason']})" if found["reason"] not in ("", "None") else ""
            events.append(session.results_dir, "phase", run=key, host=self.host, progress=None,
                          phase=f"job {found['job_id']} {found['state']}{reason}")  # fmt: skip

    def _host(self, session: Session, key: str, host: str, state: Mapping[str, Any]) -> None:
        before = session.host_state(key, host) or {}
        session.keep_host_state(key, host, state)
        if state["status"] == "ended" and before.get("status") != "ended":
            events.append(session.results_dir, "ended", run=key, host=host, **told_at_end(dict(state)))
        elif state.get("phase") and (state.get("phase"), state.get("progress")) != (
            before.get("phase"), before.get("progress")
        ):  # fmt: skip
            told = {name: state.get(name) for name in ("phase", "progress")}
            events.append(session.results_dir, "phase", run=key, host=host, **told)

    def _know_hosts(self, session: Session, key: str, nodes: str) -> None:
        """Has the run name the hosts that Slurm chose, once it has chosen."""
        run = session.run(key)
        if not (run.get("slurm") or {}).get("any_hosts") or session.note(key, "hosts") or not nodes:
            return
        try:
            hosts = members(session.plan(), run, expand(nodes))
        except NotInPlan:
            return
        session.take_note(key, "hosts", {"nodes": [host.node for host in hosts]})
        plan = session.plan()
        for one in plan["runs"]:
            if one["id"] == key:
                one["hosts"] = [{"name": host.name, "node_rank": host.node_rank} for host in hosts]
        for host in hosts:
            plan["hosts"].setdefault(host.name, {"connection": "none", "groups": [], "one_machine": None})
            plan["slurm"]["nodes"].setdefault(host.name, {"node": host.node, "python": None})
        write_json(session.folder / "plan.json", plan)

    def _meeting(self, session: Session, key: str, comment: str) -> None:
        words = comment.split()
        if words[:2] == ["deepep", "run"] and len(words) == 5 and words[2] == key:
            address, _, port = words[4].rpartition(":")
            if session.note(key, "rendezvous") is None and port.isdigit():
                point = {"master_addr": address, "master_port": int(port)}
                session.take_note(key, "rendezvous", {**point, "attempt": 1, "at": now_iso()})
                events.append(session.results_dir, "rendezvous", run=key, host=self.host, **point)

    # ---- the end of a job ----

    def collect(
        self,
        session: Session,
        key: str,
        job: Mapping[str, Any],
        ask_hosts: bool = True,
        options: Sequence[str] | None = None,
    ) -> str | None:
        """Brings a run's files of all hosts into the result tree; returns None, or what is missing.

        ``options``: srun's, for a job of its own that asks the hosts of one that is over.
        """
        limit = int(self.argument("limit_mb", 0)) * MIB
        answer = self.ask(session, "fetch", run=key, job=job["job"], ask=ask_hosts, options=options,
                          limit_bytes=limit, inline_bytes=INLINE_BYTES)  # fmt: skip
        if answer.problem:
            return self._missing(session, key, answer.problem)
        target = session.run_dir(key)
        (target / "logs").mkdir(parents=True, exist_ok=True)
        hosts = session.run(key)["hosts"]
        head = next((host["name"] for host in hosts if int(host["node_rank"]) == 0), "")
        problems = [answer.values["problem"]]
        for host in sorted(answer.values["hosts"], key=lambda name: name != head):
            offered = answer.values["hosts"][host]
            problem, placed = self._bring(session, key, host, offered, limit, host == head)
            note_collected(session, key, host, answer.values["problem"] or problem, placed,
                           offered["index"]["left_out"])  # fmt: skip
            problems.append(problem)
        if answer.values["words"] is not None:
            write_text(target / "logs" / "job.txt", answer.values["words"])
        problem = "; ".join(filter(None, problems)) or None
        if problem and not answer.values["hosts"]:
            self._missing(session, key, problem)
        session.take_note(key, "collected", {"complete": problem is None, "at": now_iso()})
        return problem

    def _bring(
        self, session: Session, key: str, host: str, offered: Mapping[str, Any], limit: int, head: bool
    ) -> tuple[str | None, list[str]]:
        """Fetches what the login host has of one compute host; returns what is wrong, and what was placed."""

        def pack(index: str, numbers: list[int]) -> Mapping[str, Any]:
            answer = self.ask(session, "parts", run=key, host=host, limit_bytes=limit, index=index,
                              parts=numbers, inline=self.of_another_user)  # fmt: skip
            if answer.problem:
                raise BadArchive(answer.problem)
            return answer.values

        incoming = Incoming(session.note_path(key, "incoming-" + host_name(host)).with_suffix(""))
        try:
            with incoming.alone():
                if not Carrier(self, session, key, host, CARRY_S, pack).bring(incoming, offered):
                    return "the run's files changed while they were fetched", []
                placed = distribute(incoming.files, incoming.finish(), session.run_dir(key), host, head)
                incoming.drop()
        except (BadArchive, Busy, Gone, OSError) as error:
            return str(error), []
        return None, placed

    def _missing(self, session: Session, key: str, problem: str) -> str:
        """Tells that nothing came of a run, from no host in particular."""
        events.append(session.results_dir, "collect", run=key, host=self.host, complete=False,
                      problem=problem, files=0, left_out=0)  # fmt: skip
        return problem

    def salvage(self, session: Session) -> list[str]:
        """Has a job of its own fetch what a killed job left on its hosts' disks, and judges the run again.

        Returns what could not be had, a text for each run.
        """
        problems = []
        for run in session.plan()["runs"]:
            key = run["id"]
            job = self.job(session, key)
            if job is None or job.get("shared") or session.kept(key) or session.skipped(key):
                continue
            if (session.note(key, "collected") or {"complete": True})["complete"]:
                continue
            problem = self.collect(session, key, job, False, run["slurm"]["job_options"])
            problems += [f"{key}: {problem}"] if problem else []
            answer = self.ask(session, "watch", jobs={key: job["job_id"]}, patience_s=PATIENCE_S)
            found = (answer.values.get("jobs") or {}).get(key) if not answer.problem else None
            if found is not None:
                self.conclude(session, key, job, found)
        return problems

    def conclude(self, session: Session, key: str, job: Mapping[str, Any], found: Mapping[str, Any]) -> str:
        """Writes the records of a run whose job is over and judges it; returns the verdict."""
        run = session.run(key)
        seen = session.note(key, "seen") or {}
        final = found.get("final") or {"job_id": job["job_id"], "state": found["state"], "source": "squeue"}
        stop = session.note(key, "stop") or session.stop_request() or {}
        hosts = self._members(session, run)
        folder = session.run_dir(key)
        own = {host.name: read_json(folder / "logs" / f"{host.name}.state.json") for host in hosts}
        started = any(own.values()) or started_at_all(final, str(found.get("comment", "")))
        if not started:
            reason = str(found.get("reason") or "")
            cause = stop.get("cause")
            _, told = ending_of(final)
            told += f" ({reason})" if reason not in ("", "None", "NonZeroExitCode") else ""
            session.skip(key, f"the session was stopped: {cause}" if cause else told)
        else:
            if session.note(key, "rendezvous") is None:
                session.take_note(key, "rendezvous", {"at": now_iso()})
            words = last_words(folder / "logs" / "job.txt")
            told = str(found.get("comment", "")).split()[1:2]
            if (
                not words
                and not any(own.values())
                and told not in (["start"], ["run"], ["done"], ["failed:"])
                and final.get("state") not in ("NODE_FAIL", "BOOT_FAIL")
            ):
                words = "its script never began: slurmd's log says why; a full spool directory does that"
            states = complete_states(session, key, hosts, own, final, stop.get("cause"), words)
            for host, state in states.items():
                write_json(folder / "logs" / f"{host}.state.json", state)
        since = seen.get("started_at")
        write_job(session, key, hosts, final, job, {
            "one_job": self._slurm(session)["one_job"], "reason": found.get("reason"),
            "waited_s": _between(job.get("at"), since),
        })  # fmt: skip
        shutil.copyfile(
            session.scripts.joinpath(*([] if job["job"] == ALL else key.split("/")), SCRIPT),
            folder / SCRIPT,
        )  # fmt: skip
        return self.judge(session, key)

    def judge(self, session: Session, key: str) -> str:
        """Completes a run's files and judges it, as over SSH."""
        folder = session.run_dir(key)
        folder.mkdir(parents=True, exist_ok=True)
        if session.skipped(key):
            # What stood for the hosts' states while the job waited is no trace of a run.
            for host in session.run(key)["hosts"]:
                note = session.note_path(key, "host-" + host["name"])
                if note.exists():
                    note.unlink()
        if session.skipped(key) or session.note(key, "rendezvous"):
            finish_run(session, key)
        verdict = str(judge_run(session.run(key), folder, session.describe())["verdict"])
        events.append(session.results_dir, "verdict", run=key, verdict=verdict)
        return verdict

    def _members(self, session: Session, run: Mapping[str, Any]) -> list[Member]:
        nodes = session.plan()["slurm"]["nodes"]
        return [
            Member(host["name"], str(nodes[host["name"]]["node"]), int(host["node_rank"]))
            for host in sorted(run["hosts"], key=lambda host: int(host["node_rank"]))
        ]

    # ---- ends that somebody asks for ----

    def end(self, session: Session, runs: Mapping[str, Mapping[str, Any]], cause: str) -> str | None:
        """Ends the jobs of these runs by their ids; returns None, or why that is not sure."""
        for key in runs:
            if session.note(key, "stop") is None:
                session.take_note(key, "stop", {"cause": cause, "at": now_iso()})
        ids = sorted({str(job["job_id"]) for job in runs.values()}, key=int)
        if not ids:
            return None
        return self.ask(session, "cancel", jobs=ids, wait_s=STOP_S, poll_s=2.0, patience_s=PATIENCE_S).problem

    def skip_dependents(self, session: Session, key: str, verdict: str) -> dict[str, str]:
        """Returns the runs that must not start since this one did not complete, with the reason."""
        if verdict in COMPLETED:
            return {}
        return {
            run["id"]: f"it starts after {key} has completed, which ended {verdict}"
            for run in session.plan()["runs"]
            if any(one["run"] == key and one["type"] == "start_post_comp" for one in run.get("after", ()))
            and session.verdict(run["id"]) is None
        }


def expand(nodes: str) -> list[str]:
    """Returns the names of Slurm's node list (``a[01-02,7],b``) in its order."""
    names: list[str] = []
    for part in _split(nodes):
        prefix, bracket, rest = part.partition("[")
        if not bracket:
            names.append(part)
            continue
        inside, _, suffix = rest.partition("]")
        for item in inside.split(","):
            first, _, last = item.partition("-")
            for number in range(int(first), int(last or first) + 1):
                names += expand(f"{prefix}{number:0{len(first)}d}{suffix}")
    return names


def _split(text: str) -> Iterable[str]:
    depth, start = 0, 0
    for index, character in enumerate(text):
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            yield text[start:index]
            start = index + 1
    yield text[start:]


def last_words(path: Path) -> str:
    """Returns the first error that the job script's own output tells, "" without one."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in lines if "error:" in line or line.startswith("deepep:")), "")


def started_at_all(final: Mapping[str, Any], comment: str) -> bool:
    """Returns whether a job that is over ever ran: its script told something, or a time says so."""
    if comment.startswith(("deepep start", "deepep run", "deepep done", "deepep failed")):
        return True
    start = str(final.get("start_time") or "")
    nodes = str(final.get("nodes") or "")
    return start not in ("", "Unknown", "None") and nodes not in ("", "None assigned", "(null)")


def _between(first: Any, last: Any) -> float | None:
    from datetime import datetime

    try:
        times = [datetime.fromisoformat(str(text).replace("Z", "+00:00")) for text in (first, last)]
    except ValueError:
        return None
    return max(0.0, round((times[1] - times[0]).total_seconds(), 3))


__all__ = ["OVER", "WAITS", "SlurmAction", "handing_over", "held", "hopeless"]
