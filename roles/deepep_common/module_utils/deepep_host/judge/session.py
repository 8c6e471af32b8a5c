"""The verdicts of a whole result tree, and the files that carry them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import write_text
from .choice import chosen
from .codes import PASS, VERDICTS
from .evidence import NOTHING_SEEN, read_seen
from .junit import render_junit
from .manifest import build_manifest
from .rows import write_rows
from .run import EVENTS, SCHEMA, judge_with, run_problem
from .summary_csv import render_csv

PLAN = "plan.json"
SESSION = "run.json"
SUMMARY = "summary.json"
JUNIT = "junit.xml"
CSV = "summary.csv"


class NotAResultTreeError(Exception):
    """The directory is no result tree; the text says what is missing."""


def judge_session(session_dir: Path | str, *, manifest: bool = True) -> dict[str, Any]:
    """Judges every run of a result tree and writes its summary files.

    Writes ``verdict.json`` of every run, ``summary.json``, ``junit.xml`` and ``summary.csv`` where the plan
    does not leave them out, and, unless ``manifest`` is false because more files follow, ``manifest.json``.
    Returns the summary (summary.schema.json), in which ``passed`` is true only if there are runs and all of
    them are PASS.
    Raises NotAResultTreeError where the plan is missing or unreadable, and OSError where the tree cannot be
    written.
    """
    top = Path(session_dir)
    plan = read_plan(top)
    session = _read_session(top)
    seen = read_seen(top / EVENTS)
    references = wanted_references(plan)
    verdicts: dict[str, str] = {}
    runs = []
    for run in plan["runs"]:
        known = seen.get(run["id"], NOTHING_SEEN)
        judged = judge_with(run, top / run["id"], session, verdicts, known, references)
        verdicts[run["id"]] = judged["verdict"]
        runs.append(judged)
    summary = _summary(plan, session, runs)
    write_rows(str(top / SUMMARY), summary)
    choice = chosen(plan)
    for wanted, name, render in ((choice.junit, JUNIT, render_junit), (choice.csv, CSV, render_csv)):
        if wanted:
            write_text(str(top / name), render(summary))
        elif (top / name).exists():
            (top / name).unlink()
    if manifest:
        write_manifest(top)
    return summary


def read_plan(top: Path) -> dict[str, Any]:
    """Returns the tree's plan.json. Raises NotAResultTreeError."""
    if not (top / PLAN).is_file():
        raise NotAResultTreeError(f"{top} is no result tree: it has no {PLAN}")
    plan = _read_object(top / PLAN)
    runs = plan.get("runs")
    if not isinstance(runs, list) or not all(isinstance(r, dict) and _safe_id(r.get("id")) for r in runs):
        raise NotAResultTreeError(f"{top / PLAN} holds no list of runs with ids")
    for run in runs:
        problem = run_problem(run)
        if problem:
            raise NotAResultTreeError(f"{top / PLAN}: run {run['id']}: {problem}")
    if not isinstance(plan.get("scenario"), dict) or not _safe_id(plan["scenario"].get("name")):
        raise NotAResultTreeError(f"{top / PLAN} names no scenario")
    return plan


def wanted_references(plan: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the reference values that the scenario holds its tests to, None where it asks for none."""
    wanted = plan.get("references")
    return wanted if isinstance(wanted, dict) and wanted.get("fail") is True else None


def write_manifest(top: Path) -> None:
    """Writes ``manifest.json``: every file's SHA-256, but for those that grow while the session runs."""
    session = _read_session(top)
    growing = (SESSION, "events.jsonl", "ansible.log") if session.get("status") == "running" else ()
    write_rows(str(top / "manifest.json"), build_manifest(top, growing))


def _summary(
    plan: Mapping[str, Any], session: Mapping[str, Any], runs: list[dict[str, Any]]
) -> dict[str, Any]:
    counts = {verdict: 0 for verdict in VERDICTS}
    for run in runs:
        counts[run["verdict"]] += 1
    used = {name for run in runs for name in run["hosts"]}
    machines: dict[str, list[str]] = {}
    for name, host in (plan.get("hosts") or {}).items():
        if name in used and host.get("one_machine"):
            machines.setdefault(str(host["one_machine"]), []).append(name)
    return {
        "schema": SCHEMA,
        "compiler_version": plan.get("compiler_version"),
        "scenario": plan["scenario"]["name"],
        "description": plan["scenario"].get("description"),
        "launcher": plan.get("launcher"),
        "run_id": session.get("run_id"),
        "stamp": session.get("stamp"),
        "status": session.get("status"),
        "started_at": session.get("started_at"),
        "ended_at": session.get("ended_at"),
        "passed": bool(runs) and counts[PASS] == len(runs),
        "counts": counts,
        "stand_in": any(run["stand_in"] for run in runs),
        "one_machine": [
            {"label": label, "hosts": names} for label, names in machines.items() if len(names) > 1
        ],
        "warnings": [str(warning) for warning in plan.get("warnings") or []],
        "runs": runs,
    }


def _read_session(top: Path) -> dict[str, Any]:
    return _read_object(top / SESSION) if (top / SESSION).exists() else {}


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise NotAResultTreeError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise NotAResultTreeError(f"{path} holds no object")
    return value


def _safe_id(value: Any) -> bool:
    """Whether an id, which becomes a path, stays below the tree."""
    return isinstance(value, str) and all(
        part and part not in (".", "..") and "\\" not in part and "\0" not in part
        for part in value.split("/")
    )
