"""Reads a judged result tree into the model of the page."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compiler.report import excerpts, matrices
from compiler.report.evidence import read_evidence
from compiler.report.examined import read_preflight, read_selftest
from compiler.report.host_judge import CODES, PREFLIGHT, list_files
from compiler.report.hosts import read_hosts
from compiler.report.model import (
    Evidence,
    Excerpt,
    FileLink,
    Reason,
    Run,
    Session,
    Setting,
    Suspect,
)
from compiler.report.ratios import ratios
from compiler.report.records import read_record
from compiler.report.spread import spread_facts
from compiler.report.starts import find_points
from compiler.report.sweeps import find_sweeps
from compiler.report.values import mapping, objects, read_json, text

MANY_RUNS = 100
"""Runs above which the load of the experts and matrices as tables are left to the files: they take long."""


def read_session(
    top: Path,
    plan: Mapping[str, Any],
    summary: Mapping[str, Any],
    references: Sequence[Mapping[str, Any]] = (),
    origin: str = "",
    unproven: str = "",
) -> Session:
    """Returns what the page shows of the tree at ``top``, judged as ``summary`` says.

    ``references`` are reference values (reference.schema.json); ``origin`` says where a foreign tree is from,
    and ``unproven`` why nothing of it can be verified.
    """
    files = sorted(name for name in list_files(top).items() if not name[0].startswith("."))
    planned = {run["id"]: run for run in plan["runs"]}
    by_run = _by_run(files, planned)
    few = len(planned) <= MANY_RUNS
    shared = {host for machine in summary["one_machine"] for host in machine["hosts"]}
    runs = [
        _run(top, planned[judged["run"]], judged, by_run[judged["run"]], references, few, shared)
        for judged in summary["runs"]
    ]
    of_runs = {file.path for run in runs for file in run.files}
    session = mapping(read_json(top / "run.json"))
    points = find_points(runs)
    return Session(
        scenario=summary["scenario"],
        description=text(summary["description"]),
        status=text(summary["status"]),
        run_id=text(summary["run_id"]),
        started_at=text(summary["started_at"]),
        ended_at=text(summary["ended_at"]),
        launcher=text(summary["launcher"]),
        passed=summary["passed"],
        counts=summary["counts"],
        stand_in=summary["stand_in"],
        one_machine=[(machine["label"], machine["hosts"]) for machine in summary["one_machine"]],
        capped=_capped(runs),
        warnings=summary["warnings"],
        runs=runs,
        hosts=read_hosts(top, plan, runs),
        versions=_versions(summary, session, runs),
        files=[FileLink(name, name, size) for name, size in files if name not in of_runs],
        points=points,
        sweeps=find_sweeps(points),
        preflight=read_preflight(top),
        selftest=read_selftest(top, {run.id: run.anchor for run in runs}),
        origin=origin,
        unproven=unproven,
    )


def with_files(top: Path, session: Session) -> Session:
    """Returns the session with the files that lie in its directory now: reports were written since."""
    own = sorted((path.name, path.stat().st_size) for path in top.iterdir() if path.is_file())
    known = {file.path: file for file in session.files}
    known |= {name: FileLink(name, name, size) for name, size in own if not name.startswith(".")}
    return replace(session, files=[known[name] for name in sorted(known)])


def _by_run(files: Sequence[tuple[str, int]], planned: Mapping[str, Any]) -> dict[str, list[tuple[str, int]]]:
    """Returns each run's files: those below its directory."""
    found: dict[str, list[tuple[str, int]]] = {run: [] for run in planned}
    for name, size in files:
        parts = name.split("/")
        for depth in range(len(parts) - 1, 0, -1):
            run = "/".join(parts[:depth])
            if run in found:
                found[run].append((name, size))
                break
    return found


def _run(
    top: Path,
    planned: Mapping[str, Any],
    judged: Mapping[str, Any],
    files: Sequence[tuple[str, int]],
    references: Sequence[Mapping[str, Any]],
    few: bool,
    on_one_machine: Collection[str],
) -> Run:
    run_dir = top / judged["run"]
    prefix = judged["run"] + "/"
    config = mapping(planned["config"])
    results = run_dir / judged["result_dir"] if judged["result_dir"] else None
    experts = config.get("num_experts")
    reasons = [_reason(judged["run"], reason) for reason in judged["reasons"]]
    sweep = {key: text(value) for key, value in judged["sweep"].items()}
    anchor = "run-" + re.sub(r"\s", "-", judged["run"])
    values = planned.get("foreign_records")
    if values is None:
        values = objects(read_json(results / "results.json")) if results else []
    records = [read_record(value, values, planned) for value in values]
    counts = judged["verdict"] in ("PASS", "UNVERIFIED")
    links = matrices.read_links(results / "links.json", judged["world_size"]) if results else None
    # Between processes of one machine a slow link is only how busy that was.
    name_links = not (judged["stand_in"] and any(host in on_one_machine for host in judged["hosts"]))
    metadata = [run_dir / f"metadata/node-{host}.toml" for host in judged["hosts"]]
    return Run(
        id=judged["run"],
        entry=judged["entry"],
        anchor=anchor,
        label=judged["run"] + "".join(f", {key.rsplit('.', 1)[-1]}={value}" for key, value in sweep.items()),
        sweep=sweep,
        verdict=judged["verdict"],
        test_name=judged["test_name"],
        description=judged["description"],
        mode=judged["mode"],
        backend=judged["backend"],
        program=judged["program"],
        image=text(planned.get("image")),
        image_digest=text(judged.get("image_digest")),
        stand_in=judged["stand_in"],
        hosts=judged["hosts"],
        why_hosts=text(planned.get("why_hosts")),
        world_size=judged["world_size"],
        ranks_per_host=planned["ranks_per_host"],
        duration_s=judged["duration_s"],
        time_limit_s=planned.get("time_limit_s"),
        started_at=text(judged["started_at"]),
        reasons=reasons,
        suspect=_suspect(judged["run"], judged.get("suspect")),
        notes=[text(note) for note in judged.get("notes") or ()],
        excerpt=_excerpt(top, judged),
        records=records,
        settings=_settings(config, mapping(planned.get("config_requested"))),
        environment=[Setting(name, text(value)) for name, value in mapping(planned.get("env")).items()],
        command=" ".join(_argument(argument) for argument in planned.get("argv") or []),
        matrix=matrices.read_traffic(
            results / "token_matrix_kb.txt", judged["world_size"], judged["hosts"], planned["ranks_per_host"]
        )
        if results
        else None,
        expert_load=matrices.read_expert_load(results / "token_matrix.txt", experts)
        if results and few and isinstance(experts, int)
        else [],
        files=[FileLink(name, name[len(prefix) :], size) for name, size in files],
        links=links,
        spread=list(spread_facts(judged["run"], anchor, records, links, name_links)) if counts else [],
        ratios=list(ratios(planned, judged["run"], anchor, values, metadata, top / PREFLIGHT, references))
        if counts
        else [],
        evidence=read_evidence(results / "evidence.json", few) if results else None,
    )


def _reason(run: str, reason: Mapping[str, Any]) -> Reason:
    return Reason(
        code=reason["code"],
        title=CODES[reason["code"]].title,
        text=reason["text"],
        file=f"{run}/{reason['file']}" if reason["file"] else None,
        line=reason["line"],
        consequence=reason["consequence"],
        remedy=reason["remedy"],
    )


def _suspect(run: str, suspect: Mapping[str, Any] | None) -> Suspect | None:
    if not suspect:
        return None
    return Suspect(
        kind=suspect["kind"],
        text=suspect["text"],
        evidence=[
            Evidence(one["text"], f"{run}/{one['file']}" if one["file"] else None, one["line"])
            for one in suspect["evidence"]
        ],
    )


def _excerpt(top: Path, judged: Mapping[str, Any]) -> Excerpt | None:
    """Returns the log lines that show the failure.

    Those of the cause; without a line of its own, the end of its host's log; where that host left none (it
    lost power, say), the first lines that others wrote because of it.
    """
    if not judged["reasons"]:
        return None
    run, cause = judged["run"], judged["reasons"][0]
    if not (cause["file"] and cause["line"]) and cause["host"]:
        log = f"{run}/logs/{cause['host']}"
        found = excerpts.end_of(top, f"{log}.stderr.txt") or excerpts.end_of(top, f"{log}.stdout.txt")
        if found:
            return found
    shown = next((one for one in judged["reasons"] if one["file"] and one["line"]), None)
    return excerpts.around(top, f"{run}/{shown['file']}", shown["line"]) if shown else None


def _settings(config: Mapping[str, Any], requested: Mapping[str, Any]) -> list[Setting]:
    """Returns what was in force; config.yaml repeats what was asked for under ``requested_``."""
    return [
        Setting(key, text(value), text(requested[key]) if requested.get(key) not in (None, value) else None)
        for key, value in config.items()
        if not key.startswith("requested_")
    ]


def _argument(argument: Any) -> str:
    """Returns one argument of a command as the plan has it; what a host fills in stands in angle brackets."""
    if isinstance(argument, dict):
        return (
            "<" + text(argument.get("var")) + ">"
            if "var" in argument
            else "".join(_argument(part) for part in argument.get("join") or [])
        )
    shown = text(argument)
    return (
        shown
        if shown and not re.search(r"[^\w@%+=:,./-]", shown)
        else "'" + shown.replace("'", "'\\''") + "'"
    )


def _capped(runs: Sequence[Run]) -> list[tuple[str, str, str]]:
    """Returns (name, effective, requested) of what the inventory capped, each combination once."""
    found = {
        (setting.name, setting.value, setting.requested): None
        for run in runs
        for setting in run.settings
        if setting.requested is not None
    }
    return [(name, value, requested) for name, value, requested in found if requested is not None]


def _versions(summary: Mapping[str, Any], session: Mapping[str, Any], runs: Sequence[Run]) -> list[Setting]:
    """Returns every version that is known; where runs differ, all of them."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for record in run.records:
            for name, version in record.versions.items():
                found.setdefault(name, {})[version] = None
    own = [("deepep-compiler", summary["compiler_version"]), ("ansible-core", session.get("ansible_version"))]
    shown = [Setting(name, text(version)) for name, version in own if version]
    return shown + [Setting(name, ", ".join(versions)) for name, versions in found.items()]
