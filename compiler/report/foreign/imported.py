"""Copies a foreign tree into a directory of its own and writes summary and page there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compiler import __version__
from compiler.report import facts
from compiler.report.foreign import bundled, cloudai, deepep_tests
from compiler.report.foreign.model import ForeignRun, ForeignTree, Problem
from compiler.report.host_judge import (
    VERDICTS,
    headline,
    notes_on_marks,
    reason,
    render_csv,
    render_junit,
    render_table,
    verdict_of,
    write_manifest,
    write_rows,
    write_text,
)
from compiler.report.markdown import render_markdown
from compiler.report.page import render_page
from compiler.report.tree import read_session, with_files

_SAFE = re.compile(r"[^A-Za-z0-9._/-]+")
_LARGEST = 256 << 20


def read_foreign(path: Path) -> ForeignTree | None:
    """Returns what a foreign directory or file holds, None where nothing of it is known."""
    if path.is_dir():
        return bundled.read_tree(path) or cloudai.read_tree(path)
    name = path.stem
    runs = deepep_tests.read_outputs(path, name)
    tests = ", ".join(dict.fromkeys(run.test_name for run in runs))
    return ForeignTree(name, f"Output of DeepEP's own {tests}", runs) if runs else None


def write_imported(
    tree: ForeignTree, target: Path, references: Sequence[Mapping[str, Any]] = ()
) -> tuple[Path, str]:
    """Writes copies of the runs' files, summary.json, CSV, JUnit, Markdown and the page into ``target``.

    Returns the page's path and a table for the terminal. Raises OSError.
    """
    target.mkdir(parents=True, exist_ok=True)
    name = _SAFE.sub("_", tree.name) or "foreign"
    for run in tree.runs:
        for file, source in run.files.items():
            if source.stat().st_size <= _LARGEST:
                copy = target / _safe(run.id) / file
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)
    plan = {"runs": [_planned(run) for run in tree.runs], "hosts": {}}
    summary = _summary(tree, name)
    session = read_session(target, plan, summary, references, tree.origin, tree.unproven)
    summary["report"] = facts.to_json(session, None)
    write_rows(str(target / "summary.json"), summary)
    write_text(str(target / "summary.csv"), render_csv(summary))
    write_text(str(target / "junit.xml"), render_junit(summary))
    write_text(str(target / "summary.md"), render_markdown(session))
    page = target / f"{name}.html"
    write_text(str(page), render_page(with_files(target, session)))
    write_manifest(target)
    return page, render_table(summary)


def _planned(run: ForeignRun) -> dict[str, Any]:
    return {
        "id": _safe(run.id),
        "config": dict(run.config),
        "ranks_per_host": max(1, run.num_ranks // run.num_hosts),
        "foreign_records": list(run.records),
        "argv": [],
    }


def _summary(tree: ForeignTree, name: str) -> dict[str, Any]:
    runs = [_judged(run, Problem("program-unverified", tree.unproven)) for run in tree.runs]
    return {
        "schema": 1,
        "compiler_version": __version__,
        "scenario": name,
        "description": tree.origin,
        "launcher": None,
        "run_id": None,
        "stamp": None,
        "status": None,
        "started_at": None,
        "ended_at": None,
        "passed": False,
        "counts": {verdict: sum(run["verdict"] == verdict for run in runs) for verdict in VERDICTS},
        "stand_in": any(run["stand_in"] for run in runs),
        "one_machine": [],
        "warnings": [],
        "runs": runs,
    }


def _judged(run: ForeignRun, unproven: Problem) -> dict[str, Any]:
    reasons = [
        reason(one.code, one.text, one.file, one.line)
        | {"consequence": number_ > 0 and one.code != unproven.code}
        for number_, one in enumerate([*run.problems, unproven])
    ]
    parts = _safe(run.id).split("/")
    return {
        "schema": 1,
        "run": _safe(run.id),
        "verdict": verdict_of(reasons),
        "reasons": reasons,
        "suspect": None,
        "notes": list(notes_on_marks({}, run.records)),
        "entry": parts[0],
        "iteration": int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0,
        "step": int(parts[2]) or None if len(parts) > 2 and parts[2].isdigit() else None,
        "sweep": {},
        "test_name": run.test_name,
        "description": run.description,
        "program": run.program,
        "backend": run.backend,
        "image_digest": None,
        "mode": run.mode,
        "hosts": [f"host {index}" for index in range(run.num_hosts)],
        "world_size": max(1, run.num_ranks),
        "expected_operations": [],
        "stand_in": any(record.get("stand_in") is True for record in run.records),
        "requested": {},
        "started_at": None,
        "ended_at": None,
        "duration_s": None,
        "result_dir": run.result_dir,
        "operations": headline({}, run.records),
    }


def _safe(run: str) -> str:
    """Returns an id as a path below the target."""
    parts = [part for part in _SAFE.sub("_", run).split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "run"
