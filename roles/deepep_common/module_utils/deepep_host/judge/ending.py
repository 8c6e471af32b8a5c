"""How a run ended on its hosts: the failures that everything else may be a consequence of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..state import AT_THE_LIMIT, STILL_RUNNING, planned_stop
from .codes import COMPLETED, Reason, reason
from .evidence import Evidence, HostEnd, Unreadable, seconds, state_name

PLANNED_STOP = "stopped when {} ended, as planned: its data were checked before, it has no figures"

_WORKING = (
    "warmup",
    "timing",
    "own_tests",
    "check_after",
    "baselines",
    "profile",
    "write",
    "close",
    "done",
)
"""Phases of the bundled program in which every rank has passed the check of dispatch and combine."""

MOST_NAMES = 4
"""So many hosts of one phase are named."""

_REMEDIES = {
    "host-lost": "look at the host's power, console and kernel log; once it answers, collect.yml in the "
    "bundle fetches what it kept",
    "time-limit": "look at the suspect; if nothing is wrong there, raise time_limit or lower num_iterations",
    "stood-still": "find out who stopped the process (SIGSTOP, a debugger, a suspended terminal)",
    "start-failed": "deepep-compiler doctor shows what the host lacks",
    "exit-code": "look at the end of the host's log",
}


def no_trace(evidence: Evidence, session: Mapping[str, Any], verdicts: Mapping[str, str]) -> Reason:
    """Returns why there is no trace of a run: it was not started, or nothing of it was fetched."""
    skipped = evidence.read_json("skipped.json")
    if isinstance(skipped, dict) and skipped.get("reason"):
        code = "dependency-not-passed" if skipped.get("because") else "not-started"
        return reason(code, f"not started: {skipped['reason']}", "skipped.json", at=_at(skipped.get("at")))
    if evidence.running:
        names = ", ".join(host for host in evidence.hosts if host in evidence.running)
        return reason(
            "not-collected",
            f"it was started on {names}, but nothing of it was fetched: the controller was lost before",
            remedy="deepep-compiler run --resume with this directory fetches and judges what the hosts kept",
        )
    for dependency in evidence.run.get("after", []):
        verdict = verdicts.get(dependency["run"])
        waited_for = dependency["type"] not in ("end_post_comp", "post_test")
        if waited_for and verdict is not None and verdict not in COMPLETED:
            text = "not started: it needs {}, which is {}".format(dependency["run"], verdict)
            return reason("dependency-not-passed", text)
    if session.get("status") == "interrupted":
        return reason("session-interrupted", "not started: the session was interrupted before the run's turn")
    return reason(
        "not-started",
        "not started: no host has a trace of the run",
        remedy="look at what Ansible printed: a host may have been unreachable, or preflight refused it",
    )


def check_ends(evidence: Evidence) -> list[Reason]:
    """Returns what went wrong on each host, the first failure in time first.

    What befell several at once, a time limit or a stop, is one reason that accuses none of them.
    """
    together = _met_by_a_limit(evidence) or _met_by_a_stop(evidence)
    reasons = [_check_together(evidence, together)] if together else []
    told = {end.host for end in together if end.outcome != "exited"}
    for host in evidence.hosts:
        found = None if host in told else _check_end(evidence, host)
        if found is not None:
            reasons.append(found)
    return sorted(reasons, key=lambda r: (r["code"] == "stopped", r["at"] is None, r["at"] or ""))


def check_collected(evidence: Evidence, ends: list[Reason]) -> list[Reason]:
    """Returns the hosts whose files could not be fetched; ``ends`` tells of those that are lost."""
    told = {r["host"] for r in ends if r["code"] in ("host-lost", "state-missing", "still-running")}
    return [
        reason(
            "not-collected",
            f"the files of {host} could not be fetched: {why}",
            host=host,
            remedy="fetch them once the host answers again: ansible-playbook collect.yml in the bundle",
        )
        for host, why in sorted(evidence.not_collected.items())
        if host in evidence.hosts and host not in told
    ]


def check_leftovers(evidence: Evidence) -> list[Reason]:
    """Returns the hosts on which something was left running."""
    reasons = []
    for end in evidence.ends.values():
        if isinstance(end, HostEnd) and end.leftovers:
            names = ", ".join(map(str, end.leftovers[:5]))
            reasons.append(
                reason(
                    "leftovers",
                    f"{end.host} left {len(end.leftovers)} process(es) running: {names}",
                    state_name(end.host),
                    host=end.host,
                    remedy="end them before the next run: they hold GPUs, ports and memory",
                )
            )
    return reasons


def check_planned_stop(evidence: Evidence) -> list[Reason] | None:
    """Returns what is wrong with a run that was stopped as its end_post_comp asks; None for any other run.

    What must hold until the stop is shown by the phase that each host had reached: past the check of all data
    against the reference. A host that failed after the stop had begun elsewhere lost its peers to it.
    """
    if evidence.ended_with is None:
        return None
    reasons = []
    stopped = False
    for host in evidence.hosts:
        end = evidence.ends[host]
        if not isinstance(end, HostEnd) or end.status != "ended":
            return None
        if end.outcome == "stopped" and end.cause == planned_stop(evidence.ended_with):
            if end.first_failure_at is not None:
                return None
            stopped = True
        elif end.outcome != "exited" or (end.exit_code != 0 and not _after_stop(evidence, end)):
            return None
        if evidence.bundled and end.phase not in _WORKING:
            text = f"{host} was still in phase {end.phase or 'start'} when {evidence.ended_with} ended: "
            reasons.append(
                reason(
                    "stopped-too-early",
                    text + "nothing accompanied it",
                    state_name(host),
                    host=host,
                    at=end.ended_at,
                    remedy="let the other run last longer, with more iterations",
                )
            )
    return reasons if stopped else None


def _after_stop(evidence: Evidence, end: HostEnd) -> bool:
    failed = seconds(end.first_failure_at)
    return failed is not None and evidence.stopped_at is not None and failed >= evidence.stopped_at


def _check_end(evidence: Evidence, host: str) -> Reason | None:
    end = evidence.ends[host]
    name = state_name(host)
    if end is None:
        text = f"{host} left no state.json: it was not reachable when the run was collected, or never started"
        return reason("state-missing", text, name, host=host, remedy="fetch it with the bundle's collect.yml")
    if isinstance(end, Unreadable):
        return reason("state-unreadable", end.why, name, host=host)
    code, text = _outcome(evidence, end)
    if code is None:
        return None
    if end.cause:
        text = f"{text}: {end.cause}"
    at = end.first_failure_at or end.ended_at
    return reason(code, text, name, host=host, at=at, remedy=_REMEDIES.get(code))


def _met_by_a_limit(evidence: Evidence) -> list[HostEnd]:
    """Returns the hosts on which the run still went when the first of them reached the time limit.

    None where that was one alone. Those of which more is known (a process that stands still, a full disk) are
    not among them. What ended later may have missed the first one, or was stopped with it.
    """
    ends = [evidence.ends[host] for host in evidence.hosts if isinstance(evidence.ends[host], HostEnd)]
    limited = [end for end in ends if end.outcome == "timeout" and end.cause.startswith(STILL_RUNNING)]
    if not limited:
        return []
    first = min(end.first_failure_at or "" for end in limited)
    others = [end for end in ends if end.outcome == "exited" and (end.first_failure_at or "") >= first]
    others += [end for end in ends if end.outcome == "stopped" and end.cause.startswith(AT_THE_LIMIT)]
    met = [end for end in ends if end in limited or end in others]
    return met if len(met) > 1 else []


def _met_by_a_stop(evidence: Evidence) -> list[HostEnd]:
    """Returns all hosts, where all were stopped for the same reason."""
    ends = [end for end in evidence.ends.values() if isinstance(end, HostEnd)]
    stopped = [end for end in ends if end.outcome == "stopped" and end.first_failure_at is None]
    alike = len(stopped) == len(evidence.hosts) > 1 and len({end.cause for end in stopped}) == 1
    return stopped if alike else []


def _check_together(evidence: Evidence, ends: list[HostEnd]) -> Reason:
    limited = [end for end in ends if end.outcome == "timeout"]
    first = min(limited or ends, key=lambda end: end.first_failure_at or end.ended_at or "")
    phases: dict[str, list[str]] = {}
    for end in ends:
        phases.setdefault(end.phase, []).append(end.host)
    where = "; ".join(
        f"{_names(hosts, len(evidence.hosts))}{f' in phase {phase}' if phase else ''}"
        for phase, hosts in phases.items()
    )
    if limited:
        limit = evidence.run.get("time_limit_s")
        code, text = "time-limit", f"the time limit of {limit} s was reached by {where}"
        known = f"{STILL_RUNNING} at the time limit of {limit} s", f", in phase {first.phase}"
        more = first.cause.replace(known[0], "").replace(known[1], "").strip("; ")
    else:
        code, text, more = "stopped", f"stopped on {where}", first.cause
    at = first.first_failure_at or first.ended_at
    text = f"{text}: {more}" if more else text
    return reason(code, text, state_name(first.host), at=at, remedy=_REMEDIES.get(code))


def _names(hosts: list[str], of: int) -> str:
    if len(hosts) == of:
        return f"all {of} hosts"
    more = f" and {len(hosts) - MOST_NAMES} more" if len(hosts) > MOST_NAMES else ""
    return ", ".join(hosts[:MOST_NAMES]) + more


def _outcome(evidence: Evidence, end: HostEnd) -> tuple[str | None, str]:
    where = f" in phase {end.phase}" if end.phase else ""
    if end.status != "ended":
        return "still-running", f"{end.host} was still {end.status}{where} when it was collected"
    if end.outcome == "exited":
        if end.exit_code == 0:
            return None, ""
        if end.exit_code is None:
            return "exit-code", f"{end.host} ended without an exit code"
        signal = f" (signal {-end.exit_code})" if end.exit_code < 0 else ""
        return "exit-code", f"{end.host} ended with exit code {end.exit_code}{signal}{where}"
    if end.outcome == "timeout":
        limit = evidence.run.get("time_limit_s")
        return "time-limit", f"{end.host} reached the time limit of {limit} s{where}"
    if end.outcome == "stopped" and end.first_failure_at is not None:
        return "stood-still", f"{end.host} stood still{where}, and the others waited"
    if end.outcome == "stopped":
        return "stopped", f"{end.host} was stopped{where}"
    if end.outcome == "start_failed":
        return "start-failed", f"{end.host} could not start the program"
    if end.outcome == "lost":
        if not end.phase:
            return "host-lost", f"{end.host} was lost while the run was started there"
        seen, ended = seconds(end.seen_at), seconds(end.ended_at)
        if seen and ended and seen < ended:
            # The controller gave it up, which looks every few seconds only: what it saw last is old.
            before = max(0.0, (end.away_at or ended) - seen)
            where = f", last seen in phase {end.phase} {before:.0f} s before it answered no more"
        return "host-lost", f"the processes on {end.host} disappeared{where}"
    return "host-lost", f"{end.host} ended in a way that is not known: {end.outcome}"


def _at(value: Any) -> str | None:
    return value if isinstance(value, str) else None
