"""Names the suspect behind a failed run, not the victims that waited for it.

What others say of a rank counts more than what it says of itself, and what ended first more than what came
later. Where the evidence contradicts itself or is not there, the answer is that it cannot be told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..preflight.needs import V1_GROUP
from .codes import Reason, printable
from .counters import counters_name, part_of, rose
from .evidence import LOG_KINDS, Evidence, HostEnd, log_name, seconds, state_name
from .logs import Finding

APART_S = 2.0
"""Hosts' clocks may differ: one host ended before the others if by more than this."""

MOST_EVIDENCE = 8

_FROM_OUTSIDE = re.compile(r"killed by OOM|out of memory|the container was (?:removed|ended)")
"""What a supervisor says where something other than the program ended it (deepep_host.box)."""

_SPEAKER = re.compile(r"^\[(?:rank|default)\s*(\d+)\]")
_BY_PART = {
    "gpu": "gpu",
    "nic": "nic",
    "link": "link",
    "configuration": "configuration",
    "software": "software",
}


def find_suspect(evidence: Evidence, reasons: list[Reason]) -> dict[str, Any] | None:
    """Returns the suspect of a run that failed or hung (``$defs/suspect`` of summary.schema.json).

    None where no host, GPU, NIC or link is in question: the run did not fail while it ran.
    """
    if not any(r["code"] in _WHILE_RUNNING for r in reasons):
        return None
    for look in (
        _everywhere,
        _named_by_the_program,
        _ended_by_its_host,
        _lost_first,
        _own_error,
        _accused_by_kernels,
        _ended_first,
    ):
        found = look(evidence)
        if found is not None:
            return _with_counters(evidence, found)
    only = _only_counters(evidence)
    return only or _suspect(
        "unknown", None, None, "cannot be told: no log, state or counter points at one host", []
    )


_WHILE_RUNNING = (
    "error-in-log",
    "exit-code",
    "stood-still",
    "host-lost",
    "time-limit",
    "start-failed",
    "state-missing",
    "stopped",
    "slurm-state",
)


def _suspect(
    kind: str, host: str | None, rank: int | None, text: str, evidence: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "kind": kind,
        "host": host,
        "rank": rank,
        "text": printable(text),
        "evidence": list(evidence)[:MOST_EVIDENCE],
    }


def _entry(text: str, file: str | None = None, line: int | None = None) -> dict[str, Any]:
    return {"text": printable(text, 300), "file": file, "line": line}


def _causes(evidence: Evidence, host: str) -> list[tuple[str, Finding]]:
    """Returns what a host's own logs show that is no victim's line, with the log's name."""
    return [
        (log_name(host, kind), finding)
        for kind in LOG_KINDS
        if (host, kind) in evidence.logs
        for finding in evidence.logs[host, kind].findings
        if not finding.signature.victim
        and not finding.after_stop
        and not evidence.harmless(finding.signature)
    ]


def _everywhere(evidence: Evidence) -> dict[str, Any] | None:
    """The same error on every host accuses none of them, but what they share."""
    if len(evidence.hosts) < 2:
        return None
    found = {host: {f.signature.id: (n, f) for n, f in _causes(evidence, host)} for host in evidence.hosts}
    shared = set.intersection(*(set(of_host) for of_host in found.values())) - {"traceback"}
    if not shared:
        return None
    first = [(found[host][name], host) for name in sorted(shared) for host in evidence.hosts]
    signature = first[0][0][1].signature
    lines = [_entry(f"{host}: {finding.text}", name, finding.line) for (name, finding), host in first]
    kind = _BY_PART.get(signature.part, "unknown")
    if kind in ("configuration", "software"):
        text = f"no single host: {signature.meaning} on every host"
    elif kind in ("nic", "link"):
        text = (
            f"no single host: {signature.meaning} on every host: what they share (settings, image, network)"
        )
    else:
        kind, text = "unknown", f"cannot be told: {signature.meaning}, on every host alike"
    return _suspect(kind, None, None, text, lines)


def _named_by_the_program(evidence: Evidence) -> dict[str, Any] | None:
    """The bundled benchmark's ranks name the one that failed first.

    One that waited, as its sentinel says, was silent for that reason: it is not taken for the first.
    """
    blamed: dict[tuple[int, str], int] = {}
    lines: dict[tuple[int, str], dict[str, Any]] = {}
    waited = {one.waited for scan in evidence.logs.values() for one in scan.votes}
    for (host, kind), scan in evidence.logs.items():
        for culprit, votes in scan.blamed.items():
            if culprit[0] in waited:
                continue
            blamed[culprit] = blamed.get(culprit, 0) + votes
            text = f"{host}: {votes} line(s) name rank {culprit[0]} on {culprit[1]}"
            lines.setdefault(culprit, _entry(text, log_name(host, kind)))
    if not blamed:
        return None
    rank, host = max(sorted(blamed), key=lambda culprit: blamed[culprit])
    end = evidence.ends.get(host)
    if isinstance(end, HostEnd) and end.outcome == "lost":
        # The rank did not fail: its host did, with all of its ranks.
        entry = _entry(f"{host}: {end.cause or end.outcome}", state_name(host))
        text = f"{host}: its processes disappeared; the others lost rank {rank} there first"
        return _suspect("host", host, None, text, [entry, lines[rank, host]])
    own = _causes(evidence, host)
    mine = [pair for pair in own if _speaker(pair[1].text) in (None, rank)] or own
    part = mine[0][1].signature.part if mine else ""
    kind = part if part in ("gpu", "nic", "link") else "rank"
    outside = _outside_cause(evidence, host) if host in evidence.ends else None
    why = f": {outside or mine[0][1].signature.meaning}" if outside or mine else ""
    found = [lines[rank, host]] + [_entry(f"{host}: {f.text}", name, f.line) for name, f in mine]
    found += [_entry(f"{host}: {outside}", state_name(host))] if outside else []
    return _suspect(kind, host, rank, f"{_place(evidence, rank, host)}{why}", found)


def _ended_by_its_host(evidence: Evidence) -> dict[str, Any] | None:
    """The supervisor of one host alone says that memory or somebody ended the program there."""
    found = {host: cause for host in evidence.hosts if (cause := _outside_cause(evidence, host))}
    if len(found) != 1:
        return None
    host, cause = next(iter(found.items()))
    return _suspect("host", host, None, f"{host}: {cause}", [_entry(f"{host}: {cause}", state_name(host))])


def _outside_cause(evidence: Evidence, host: str) -> str | None:
    end = evidence.ends[host]
    return end.cause if isinstance(end, HostEnd) and _FROM_OUTSIDE.search(end.cause) else None


def _lost_first(evidence: Evidence) -> dict[str, Any] | None:
    """One host that is lost or could not start, before any other failed: what those say follows from it."""
    if len(evidence.hosts) < 2:
        return None
    for outcome, text in (
        ("lost", "its processes disappeared"),
        ("start_failed", "it could not start the program"),
    ):
        ends = [e for e in evidence.ends.values() if isinstance(e, HostEnd) and e.outcome == outcome]
        if len(ends) != 1 or _causes(evidence, ends[0].host):
            continue
        host = ends[0].host
        moments = _moments(evidence)
        own = moments.pop(host, None)
        if own is not None and any(moment < own - APART_S for moment in moments.values()):
            continue
        entry = _entry(f"{host}: {ends[0].cause or outcome}", state_name(host))
        return _suspect("host", host, None, f"{host}: {text}", [entry])
    return None


def _own_error(evidence: Evidence) -> dict[str, Any] | None:
    """An error of a host's own, where others have none or only ended later."""
    found = {host: pairs for host in evidence.hosts if (pairs := _causes(evidence, host))}
    if not found:
        return None
    ordered = _by_time(evidence)
    host = next(iter(found))
    if len(found) > 1:
        early = [name for name in ordered if name in found]
        if not early:
            listed = ", ".join(found)
            lines = [_entry(f"{h}: {p[0][1].text}", p[0][0], p[0][1].line) for h, p in found.items()]
            return _suspect("unknown", None, None, f"cannot be told: errors of their own on {listed}", lines)
        host = early[0]
    # A traceback only repeats the error that stands above or below it.
    name, finding = min(found[host], key=lambda pair: pair[1].signature.id == "traceback")
    rank = _speaker(finding.text)
    kind = _BY_PART.get(finding.signature.part, "rank" if rank is not None else "host")
    place = _place(evidence, rank, host) if rank is not None else host
    lines = [_entry(f"{host}: {f.text}", n, f.line) for n, f in found[host]]
    return _suspect(kind, host, rank, f"{place}: {finding.signature.meaning}", lines or [_entry("", name)])


def _accused_by_kernels(evidence: Evidence) -> dict[str, Any] | None:
    """Counts whom the kernels that waited in vain accuse, and who never said that it waited."""
    against: dict[str, set[str]] = {}
    ranks: dict[str, set[int]] = {}
    lines: dict[str, list[dict[str, Any]]] = {}
    waited: dict[int, dict[str, Any]] = {}
    for (speaker, kind), scan in evidence.logs.items():
        for accusation, vote in scan.votes.items():
            entry = _entry(f"{speaker}: {vote.text}", log_name(speaker, kind), vote.line)
            if accusation.waited is not None:
                waited.setdefault(accusation.waited, entry)
            host, rank = _accused(evidence, accusation, speaker)
            if host is None:
                continue
            against.setdefault(host, set()).add(speaker)
            ranks.setdefault(host, set()).add(-1 if rank is None else rank)
            lines.setdefault(host, []).append(entry)
    if against:
        # A host that accuses others was alive at least to say so: it counts for less.
        counted = {h: (len(by - {h}), len(lines[h])) for h, by in against.items()}
        best = max(counted.values())
        top = [host for host, votes in counted.items() if votes == best]
        if len(top) == 1:
            return _accused_host(evidence, top[0], ranks[top[0]], against[top[0]], lines[top[0]])
        both = [entry for host in top for entry in lines[host]]
        if len(top) == 2 and against[top[0]] <= {top[1]} and against[top[1]] <= {top[0]}:
            text = f"the link between {top[0]} and {top[1]}, or either of them: each accuses the other alone"
            return _suspect("link", None, None, text, both)
        text = f"cannot be told: {' and '.join(top)} are accused alike"
        return _suspect("unknown", None, None, text, both)
    return _silent(evidence, waited)


def _accused_host(
    evidence: Evidence, host: str, ranks: set[int], by: set[str], lines: list[dict[str, Any]]
) -> dict[str, Any]:
    accusers = ", ".join(sorted(by))
    if len(ranks) == 1 and -1 not in ranks:
        rank = next(iter(ranks))
        text = f"{_place(evidence, rank, host)}: the kernels on {accusers} waited for it in vain"
        return _suspect("gpu", host, rank, text, lines)
    text = f"{host}: the kernels on {accusers} waited for it in vain"
    return _suspect("host", host, None, text, lines)


def _accused(evidence: Evidence, accusation: Any, speaker: str) -> tuple[str | None, int | None]:
    """Returns host and rank (where known) that an accusation means."""
    per_host = int(evidence.run["ranks_per_host"])
    rank = accusation.rank
    if rank is None and accusation.own is not None and accusation.gpu is not None:
        rank = accusation.own * V1_GROUP + accusation.gpu
        if per_host < V1_GROUP:
            rank = evidence.hosts.index(speaker) * per_host + accusation.gpu
    if rank is not None:
        number = rank // per_host
        return (evidence.hosts[number], rank) if number < len(evidence.hosts) else (None, None)
    if accusation.node is None:
        return None, None
    # V1 counts groups of eight GPUs; smaller hosts are one group each.
    number = accusation.node * V1_GROUP // per_host if per_host > V1_GROUP else accusation.node
    return (evidence.hosts[number], None) if number < len(evidence.hosts) else (None, None)


def _silent(evidence: Evidence, waited: Mapping[int, dict[str, Any]]) -> dict[str, Any] | None:
    """Of ranks that wait for each other, the one that never says so did not come."""
    missing = [rank for rank in range(evidence.world_size) if rank not in waited]
    if not waited or not missing or len(waited) * 2 < evidence.world_size:
        return None
    per_host = int(evidence.run["ranks_per_host"])
    hosts = sorted({rank // per_host for rank in missing})
    lines = list(waited.values())
    if len(missing) == 1:
        place = _place(evidence, missing[0], evidence.hosts[hosts[0]])
        text = f"{place}: the only rank that never said that it waited"
        return _suspect("rank", evidence.hosts[hosts[0]], missing[0], text, lines)
    if len(hosts) == 1:
        host = evidence.hosts[hosts[0]]
        return _suspect(
            "host", host, None, f"{host}: only ranks of this host never said that they waited", lines
        )
    return None


def _ended_first(evidence: Evidence) -> dict[str, Any] | None:
    """A host that left no trace, or ended clearly before the others."""
    known = {host: end for host, end in evidence.ends.items() if isinstance(end, HostEnd)}
    gone = [host for host in evidence.hosts if evidence.ends[host] is None]
    if len(gone) == 1 and known:
        return _suspect(
            "host", gone[0], None, f"{gone[0]}: it left no state; its host or the way to it is gone",
            [_entry(f"{gone[0]} left no state.json", state_name(gone[0]))],
        )  # fmt: skip
    times = sorted((moment, host) for host, moment in _moments(evidence).items())
    at_limit = [host for _, host in times if known[host].outcome == "timeout"]
    if len(times) > 1 and len(at_limit) == len(times):
        # Who started first is first at the limit, too.
        lines = [_entry(f"{h}: {known[h].cause}", state_name(h)) for h in at_limit]
        text = "cannot be told: no log names a culprit among the hosts that reached the time limit"
        return _suspect("unknown", None, None, text, lines) if not _only_counters(evidence) else None
    if len(times) > 1 and times[1][0] - times[0][0] > APART_S:
        host, apart = times[0][1], times[1][0] - times[0][0]
        text = f"{host}: it failed {apart:.1f} s before any other host"
        lines = [
            _entry(f"{h}: first failure at {known[h].first_failure_at}", state_name(h)) for _, h in times
        ]
        return _suspect("host", host, None, text, lines)
    if len(evidence.hosts) == 1 and times:
        return _suspect(
            "host", times[0][1], None, f"{times[0][1]}: the only host; which rank cannot be told",
            [_entry(f"first failure at {known[times[0][1]].first_failure_at}", state_name(times[0][1]))],
        )  # fmt: skip
    if times and len(times) > 1:
        names = ", ".join(host for _, host in times)
        text = (
            f"cannot be told: {names} failed within {APART_S:g} s of each other, and no log names a culprit"
        )
        lines = [
            _entry(f"{h}: first failure at {known[h].first_failure_at}", state_name(h)) for _, h in times
        ]
        return _suspect("unknown", None, None, text, lines) if not _only_counters(evidence) else None
    return None


def _moments(evidence: Evidence) -> dict[str, float]:
    """Returns when each host failed: by the controller's clock where it saw them all, else by their own."""
    found = {}
    for host, end in evidence.ends.items():
        if isinstance(end, HostEnd) and end.first_failure_at:
            moment = seconds(end.first_failure_at)
            if moment is not None:
                found[host] = moment
    seen = {host: moment for host, moment in evidence.seen_failing.items() if host in found}
    return seen if len(seen) == len(found) > 1 else found


def _by_time(evidence: Evidence) -> list[str]:
    """Returns the hosts in the order in which they failed, nothing where their clocks do not tell."""
    times = sorted((moment, host) for host, moment in _moments(evidence).items())
    if len(times) == 1 or (len(times) > 1 and times[1][0] - times[0][0] > APART_S):
        return [host for _, host in times]
    return []


def _with_counters(evidence: Evidence, suspect: dict[str, Any]) -> dict[str, Any]:
    """Adds the error counters that rose on the suspect host; they say which part of it is at fault."""
    found = rose(evidence).get(suspect["host"] or "")
    if found:
        suspect["evidence"] = [
            *suspect["evidence"][: MOST_EVIDENCE - 1],
            _entry("; ".join(found), counters_name(suspect["host"])),
        ]
        if suspect["kind"] in ("host", "rank", "gpu"):
            suspect["kind"] = part_of(found)
        suspect["text"] = printable(f"{suspect['text']}; {found[0]} there")
    return suspect


def _only_counters(evidence: Evidence) -> dict[str, Any] | None:
    found = rose(evidence)
    if len(found) != 1:
        return None
    host, words = next(iter(found.items()))
    entry = _entry("; ".join(words), counters_name(host))
    return _suspect(part_of(words), host, None, f"{host}: {words[0]}, on no other host", [entry])


def _speaker(text: str) -> int | None:
    match = _SPEAKER.match(text)
    return int(match.group(1)) if match else None


def _place(evidence: Evidence, rank: int, host: str) -> str:
    local = rank % int(evidence.run["ranks_per_host"])
    return f"rank {rank} on {host} (its number {local} there)"
