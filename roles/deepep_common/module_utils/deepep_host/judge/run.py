"""The verdict of one run, from its plan and its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from .codes import Reason, reason, verdict_of
from .completeness import (
    check_files,
    check_markers,
    check_ranks,
    check_result_files,
    check_traces,
    notes_on_left_out,
)
from .counters import rose
from .culprit import find_suspect
from .ending import PLANNED_STOP, check_collected, check_ends, check_leftovers, check_planned_stop, no_trace
from .evidence import LOG_KINDS, NOTHING_SEEN, Evidence, HostEnd, Seen, log_name, read_seen
from .hardware import PREFLIGHT, Hardware, read_hardware, with_gpu
from .images import check_images, images_of
from .limits import limits_of
from .marks import notes_on_marks
from .origin import notes_on_origin
from .records import Results, check_records, headline
from .reference import WORSE, compare_record
from .rows import write_rows
from .slurm import check_job
from .transport import check_transport

SCHEMA = 1
VERDICT_FILE = "verdict.json"
EVENTS = "events.jsonl"

RUN_KEYS: dict[str, type] = {
    "id": str,
    "entry": str,
    "iteration": int,
    "sweep": dict,
    "test_name": str,
    "program": str,
    "backend": str,
    "mode": str,
    "config": dict,
    "hosts": list,
    "ranks_per_host": int,
    "world_size": int,
    "expect": dict,
}
"""Keys of a run in plan.json that the judge needs."""

EXPECT_KEYS: dict[str, type] = {"operations": list, "world_size": int, "files": list}

_INDEPENDENT = (
    "reference-missed",
    "reference-absent",
    "leftovers",
    "wrong-data",
    "image-differs",
    "program-unverified",
)
"""Reasons that are never the consequence of a failed end."""


def judge_run(
    run: Mapping[str, Any], run_dir: Path | str, session: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Judges one run and writes ``verdict.json`` into its directory.

    ``run`` is an element of plan.json's ``runs``; ``session`` is run.json, where there is one. Verdicts of
    runs that this one needs are read from their directories beside it. Returns what was written
    (``$defs/run`` of summary.schema.json). Raises OSError where the directory cannot be written.
    """
    directory = Path(run_dir)
    root = _root_of(run, directory)
    verdicts = {}
    for dependency in run.get("after", []):
        found = _verdict_beside(root / str(dependency["run"]) / VERDICT_FILE)
        if found:
            verdicts[str(dependency["run"])] = found
    seen = read_seen(root / EVENTS).get(str(run["id"]), NOTHING_SEEN)
    return judge_with(run, directory, session or {}, verdicts, seen)


def run_problem(run: Mapping[str, Any]) -> str | None:
    """Returns what keeps a run of a plan from being judged at all, or None."""
    for key, kind in RUN_KEYS.items():
        if not isinstance(run.get(key), kind):
            return f"{key} is missing or of the wrong type"
    for key, kind in EXPECT_KEYS.items():
        if not isinstance(run["expect"].get(key), kind):
            return f"expect.{key} is missing or of the wrong type"
    if not run["hosts"] or not all(
        isinstance(h, dict) and {"name", "node_rank"} <= set(h) for h in run["hosts"]
    ):
        return "hosts is no list of hosts"
    return None


def judge_with(
    run: Mapping[str, Any],
    run_dir: Path,
    session: Mapping[str, Any],
    verdicts: Mapping[str, str],
    seen: Seen,
    references: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Judges one run and writes ``verdict.json``.

    Given are the verdicts of the runs before it, what the controller saw of it, and the reference values that
    the scenario wants it held to (:mod:`.reference`).
    """
    try:
        result = _judge(run, run_dir, session, verdicts, seen, references)
    except Exception as error:  # whatever a tree holds, it must not keep the other runs from their verdicts
        text = f"the run could not be judged: {type(error).__name__}: {error}"
        result = _result(run, [reason("judge-error", text)], {}, None, [])
    run_dir.mkdir(parents=True, exist_ok=True)
    write_rows(str(run_dir / VERDICT_FILE), result)
    return result


def _judge(
    run: Mapping[str, Any],
    run_dir: Path,
    session: Mapping[str, Any],
    verdicts: Mapping[str, str],
    seen: Seen,
    references: Mapping[str, Any] | None,
) -> dict[str, Any]:
    evidence = Evidence(run, run_dir, *seen)
    if not evidence.started:
        return _result(run, [no_trace(evidence, session, verdicts)], evidence.ends, None, [])
    stamp = session.get("stamp")
    results = Results(evidence, stamp if isinstance(stamp, str) else None)
    metadata = (run_dir / f"metadata/node-{host}.toml" for host in evidence.hosts)
    preflight = _root_of(run, run_dir) / PREFLIGHT
    hardware = with_gpu(read_hardware(metadata, preflight), results.records)
    planned_stop = check_planned_stop(evidence)
    notes = notes_on_left_out(evidence) + notes_on_origin(evidence, session)
    if planned_stop is not None:
        # What the end of the program would have written cannot be there, and what a rank says of peers that
        # were stopped a moment before it is no failure.
        early = [r for r in _log_reasons(evidence, [], victims=False) if not r["consequence"]]
        reasons = early + planned_stop + check_leftovers(evidence) + check_files(evidence)
        if not evidence.bundled:
            reasons.append(_unverified())
        notes.append(PLANNED_STOP.format(evidence.ended_with))
    else:
        ends = check_ends(evidence)
        ends += check_collected(evidence, ends)
        rest = check_job(evidence, ends) + _check_rest(evidence, results, hardware)
        differ, unknown = check_images(evidence)
        unused, untold = check_transport(evidence, results)
        rest += differ + unused
        notes += unknown + untold
        if references:
            rest += _check_references(results, hardware, references)
        named = any(scan.blamed for scan in evidence.logs.values())
        reasons = _order(ends, _log_reasons(evidence, ends), rest, named)
    notes += notes_on_marks(run, results.records)
    notes += [f"{host}: {'; '.join(words)} during the run" for host, words in rose(evidence).items()]
    suspect = find_suspect(evidence, reasons)
    digests = {image.digest for image in images_of(evidence).values()}
    return _result(
        run,
        reasons,
        evidence.ends,
        results.directory,
        headline(run, results.records),
        suspect,
        notes,
        digests.pop() if len(digests) == 1 else None,
    )


def _check_references(results: Results, hardware: Hardware, references: Mapping[str, Any]) -> list[Reason]:
    """Returns which figures miss the reference values that the scenario holds its tests to."""
    found = [
        one
        for record in results.records
        for one in compare_record(record, hardware, references.get("values") or [])
    ]
    if results.records and not found:
        text = f"no reference value is of this hardware ({', '.join(hardware.gpus) or 'not known'}) and test"
        return [reason("reference-absent", text, results.file)]
    return [
        reason(
            "reference-missed",
            "{operation}: {figure} is {value:.4g}, the reference {reference:.4g} allows {percent:g} % less "
            "({source})".format(**one, percent=100 * one["tolerance"]),
            results.file,
            remedy="compare settings, links and clocks with where the reference value comes from",
        )
        for one in found
        if one["outcome"] == WORSE
    ]


def _check_rest(evidence: Evidence, results: Results, hardware: Hardware) -> list[Reason]:
    reasons = check_records(evidence, results, limits_of(hardware)) + check_leftovers(evidence)
    if evidence.bundled:
        reasons += check_markers(evidence) + check_ranks(evidence) + check_traces(evidence)
    else:
        reasons.append(_unverified())
    if results.directory is not None:
        reasons += check_result_files(evidence, results.directory)
    return reasons + check_files(evidence)


def _unverified() -> Reason:
    text = "the image's own program ran: no reference check, no end markers, no records per rank"
    return reason("program-unverified", text)


def _log_reasons(evidence: Evidence, ends: list[Reason], victims: bool = True) -> list[Reason]:
    """Returns the errors in the logs of all hosts, the likeliest cause first.

    Without ``victims`` what a rank says of a peer that is gone is no finding.

    Where ranks name the one that failed first, its host's lines come first; else those of the host whose
    failure is the first in time.
    """
    blamed: dict[tuple[int, str], int] = {}
    for scan in evidence.logs.values():
        for culprit, votes in scan.blamed.items():
            blamed[culprit] = blamed.get(culprit, 0) + votes
    suspect: str | None = None
    if blamed:
        suspect = max(sorted(blamed), key=lambda culprit: blamed[culprit])[1]
    else:
        failed = [r["host"] for r in ends if r["code"] not in ("stopped", "state-missing")]
        suspect = failed[0] if failed else None
    found = []
    for host_number, host in enumerate(evidence.hosts):
        for kind in LOG_KINDS:
            scan_or_none = evidence.logs.get((host, kind))
            if scan_or_none is None:
                continue
            for finding in scan_or_none.findings:
                signature = finding.signature
                if evidence.harmless(signature) or (signature.victim and not victims):
                    continue
                times = f" ({finding.lines} times)" if finding.lines > 1 else ""
                likely = not finding.after_stop and not signature.victim
                entry = reason(
                    "error-in-log",
                    f"{host}: {signature.meaning}{times}: {finding.text}",
                    log_name(host, kind),
                    finding.line,
                    host=host,
                    consequence=finding.after_stop or signature.victim,
                    remedy=signature.remedy,
                )
                named = signature.id == "peer-lost"
                found.append(((not likely, not (likely or named), host != suspect, host_number), entry))
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]


def _order(ends: list[Reason], logs: list[Reason], rest: list[Reason], named: bool) -> list[Reason]:
    """Puts the cause first and marks what follows from it. ``named``: ranks say who failed first."""
    wrong = [r for r in rest if r["code"] == "wrong-data"]
    rest = [r for r in rest if r["code"] != "wrong-data"]
    first = ends[0]["code"] if ends else "stopped"
    # What others wrote when their peer was gone says less than how the first one ended, or who stopped it.
    # Before a host that is lost or could not start nothing else failed, unless its own logs say so.
    alone = first in ("host-lost", "start-failed")
    victims = (
        bool(ends)
        and not wrong
        and all(r["consequence"] or (alone and r["host"] != ends[0]["host"]) for r in logs)
    )
    if first == "time-limit" or (victims and (not named or first in ("host-lost", "stood-still"))):
        primary = [*ends[:1], *wrong, *logs, *ends[1:]]
    else:
        primary = [*wrong, *logs, *ends]
    for number, entry in enumerate(primary):
        if number and entry["code"] not in _INDEPENDENT:
            entry["consequence"] = True
    if primary:
        primary[0]["consequence"] = False
        for entry in rest:
            if entry["code"] not in _INDEPENDENT:
                entry["consequence"] = True
    return primary + rest


def _result(
    run: Mapping[str, Any],
    reasons: list[Reason],
    ends: Mapping[str, Any],
    result_dir: str | None,
    operations: list[dict[str, Any]],
    suspect: dict[str, Any] | None = None,
    notes: list[str] | None = None,
    image_digest: str | None = None,
) -> dict[str, Any]:
    known = [end for end in ends.values() if isinstance(end, HostEnd)]
    started = min((end.started_at for end in known if end.started_at), default=None)
    ended = max((end.ended_at for end in known if end.ended_at), default=None)
    return {
        "schema": SCHEMA,
        "run": run["id"],
        "verdict": verdict_of(reasons),
        "reasons": reasons,
        "suspect": suspect,
        "notes": notes or [],
        "entry": run["entry"],
        "iteration": run["iteration"],
        "step": run.get("step"),
        "sweep": dict(run["sweep"]),
        "test_name": run["test_name"],
        "description": run.get("description") or "",
        "program": run["program"],
        "backend": run["backend"],
        "image_digest": image_digest,
        "mode": run["mode"],
        "hosts": [host["name"] for host in run["hosts"]],
        "world_size": run["world_size"],
        "expected_operations": list(run["expect"]["operations"]),
        "stand_in": run["backend"] == "gloo" or any(op.get("stand_in") is True for op in operations),
        "requested": dict(run.get("config_requested") or {}),
        "started_at": started,
        "ended_at": ended,
        "duration_s": _seconds(started, ended),
        "result_dir": result_dir,
        "operations": operations,
    }


def _root_of(run: Mapping[str, Any], run_dir: Path) -> Path:
    """Returns the session's directory, in which the run's lies by its id."""
    root = run_dir
    for _ in str(run["id"]).split("/"):
        root = root.parent
    return root


def _verdict_beside(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8") as file:
            value = json.load(file).get("verdict")
    except (OSError, ValueError, AttributeError):
        return None
    return value if isinstance(value, str) else None


def _seconds(start: str | None, end: str | None) -> float | None:
    try:
        first, last = (datetime.fromisoformat((text or "").replace("Z", "+00:00")) for text in (start, end))
        return round((last - first).total_seconds(), 3)
    except (TypeError, ValueError):
        return None
