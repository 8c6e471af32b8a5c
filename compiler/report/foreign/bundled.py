"""Reads what this project's own benchmark wrote where it was started by hand, without the roles."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from compiler.report.foreign.model import ForeignRun, ForeignTree, Problem
from compiler.report.host_judge import list_files
from compiler.report.values import mapping, objects, read_json, text

RESULTS = "results.json"


def read_tree(top: Path) -> ForeignTree | None:
    """Returns what a directory holds, None where no ``results.json`` in it is the bundled program's."""
    files = sorted(list_files(top))
    runs = []
    for name in files:
        folder, _, base = name.rpartition("/")
        if base != RESULTS:
            continue
        records = objects(read_json(top / name))
        if records and all(record.get("program") == "bundled" for record in records):
            runs.append(_run(top, folder, records, files))
    if not runs:
        return None
    return ForeignTree(
        top.resolve().name,
        "Results of this project's benchmark, started by hand",
        runs,
        "the program checked its data, but there is no plan, no end marker and no log to hold that against",
    )


def _run(top: Path, folder: str, records: list[dict[str, Any]], files: list[str]) -> ForeignRun:
    first = records[0]
    # Its own layout is OUT/results/<name>/results.json, with config.yaml in OUT or beside.
    home = folder.partition("/results/")[0] if "/results/" in f"/{folder}/" else folder
    home = "" if folder.startswith("results/") else home
    prefix = f"{home}/" if home else ""
    hosts, ranks = first.get("num_hosts"), first.get("num_ranks")
    return ForeignRun(
        id=home or top.resolve().name,
        test_name=text(first.get("mode")) or "benchmark",
        description="",
        mode=text(first.get("mode")) or "standard",
        backend=text(first.get("backend")),
        num_hosts=hosts if isinstance(hosts, int) and hosts > 0 else 1,
        num_ranks=ranks if isinstance(ranks, int) else 0,
        config=_config(top / home / "config.yaml") or _of_record(first),
        records=records,
        problems=list(_problems(records, f"{folder}/{RESULTS}".removeprefix(prefix))),
        files={name[len(prefix) :]: top / name for name in files if name.startswith(prefix)},
        result_dir=folder.removeprefix(prefix) if folder != home else ".",
        program="bundled",
    )


def _config(path: Path) -> dict[str, Any]:
    """Returns config.yaml, of which every line is ``key: <JSON scalar>``; empty where there is none."""
    found: dict[str, Any] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        key, colon, value = line.partition(": ")
        try:
            found |= {key: json.loads(value)} if colon else {}
        except ValueError:
            continue
    return found


def _of_record(record: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("mode", "data_type", "num_tokens", "hidden", "num_experts", "num_topk", "num_iterations")
    return {key: record[key] for key in keys if key in record}


def _problems(records: list[dict[str, Any]], file: str) -> Iterator[Problem]:
    for record in records:
        name = text(record.get("operation"))
        checked = mapping(record.get("correctness"))
        for when in ("before", "after"):
            if checked.get(when) is not True:
                code = "wrong-data" if checked.get(when) is False else "correctness-missing"
                yield Problem(code, f"{name}: the data were not shown to be right {when} timing", file)
