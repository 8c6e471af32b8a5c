"""Reads result directories of CloudAI: its DeepEPBenchmark and MoEBenchmark write ``results.json``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from compiler.report.foreign import deepep_tests
from compiler.report.foreign.logs import log_errors
from compiler.report.foreign.model import ForeignRun, ForeignTree, Problem
from compiler.report.host_judge import list_files
from compiler.report.values import mapping, number, objects, read_json, read_toml, text

_DIRECTORY = re.compile(r"^benchmark_(\d+)_ranks_(.+?)_(low_latency|standard)")
_RESULTS = re.compile(r"^(?:(?P<run>.*)/)?(?P<dir>benchmark_[^/]*_ranks_[^/]*)/results\.json$")
LOGS = ("stdout.txt", "stderr.txt")


def read_tree(top: Path) -> ForeignTree | None:
    """Returns what a directory holds, None where nothing of it is known."""
    files = sorted(list_files(top))
    found: dict[str, list[str]] = {}
    for name in files:
        match = _RESULTS.match(name)
        if match:
            run, directory = match["run"] or "", match["dir"]
            # The run's own folder comes first in the pattern: give "results" back to the directory.
            if run == "results" or run.endswith("/results"):
                run, directory = run[: -len("results")].rstrip("/"), f"results/{directory}"
            found.setdefault(run, []).append(directory)
    runs = [_run(top, run, directories, files) for run, directories in found.items()]
    runs += _printed(top, files, found)
    if not runs:
        return None
    newer = any("bus_bw_avg" in record for run in runs for record in run.records)
    kind = "MoEBenchmark" if newer else "DeepEPBenchmark" if found else "DeepEP"
    return ForeignTree(
        top.resolve().name, f"A result directory of CloudAI's {kind}", sorted(runs, key=lambda r: r.id)
    )


def _run(top: Path, run: str, directories: list[str], files: list[str]) -> ForeignRun:
    directory = sorted(directories)[-1]
    path = top / run
    match = _DIRECTORY.match(directory.removeprefix("results/"))
    definition = read_toml(path / "test-run.toml")
    arguments = mapping(mapping(definition.get("test_definition")).get("cmd_args"))
    rows = objects(read_json(path / directory / "results.json"))
    ranks = int(match[1]) if match else 0
    mode = match[3] if match else str(arguments.get("mode") or "standard")
    problems = list(_log_problems(path))
    records: list[dict[str, Any]] = []
    for row in rows:
        operation = row.get("operation") or "all"
        first = all(known["operation"] != operation for known in records)
        record = _record(row, mode, ranks, first)
        problems += _impossible(record, f"{directory}/results.json")
        records.append(record)
    if not records:
        problems.append(
            Problem("results-unreadable", "results.json holds no record", f"{directory}/results.json")
        )
    if len(directories) > 1:
        text_ = f"{len(directories)} result directories; the last one is shown: {directory}"
        problems.append(Problem("program-unverified", text_))
    hosts = definition.get("nnodes")
    return ForeignRun(
        id=_id(run, top),
        test_name=text(mapping(definition.get("test_definition")).get("name"))
        or text(definition.get("name")),
        description=text(mapping(definition.get("test_definition")).get("description")),
        mode=mode,
        backend=", ".join(dict.fromkeys(str(record["backend"]) for record in records)) or "deepep",
        num_hosts=hosts if isinstance(hosts, int) and hosts > 0 else 1,
        num_ranks=ranks,
        config=arguments,
        records=records,
        problems=problems,
        files=_files_below(top, run, files),
        result_dir=directory,
    )


def _printed(top: Path, files: list[str], known: Mapping[str, Any]) -> Iterator[ForeignRun]:
    """Yields runs whose standard output is that of DeepEP's own tests (CloudAI's workload ``DeepEP``)."""
    for name in files:
        folder, _, base = name.rpartition("/")
        if base != "stdout.txt" or folder in known:
            continue
        beside = list(_log_problems(top / folder, ("stderr.txt",)))
        below = _files_below(top, folder, files)
        for found in deepep_tests.read_outputs(top / name, _id(folder, top)):
            yield replace(found, problems=[*found.problems, *beside], files=below)


def _record(row: Mapping[str, Any], mode: str, ranks: int, first: bool) -> dict[str, Any]:
    """Returns a row of either generation with the keys of results.json; 0 for a link means: not measured."""
    time = row.get("deepep_time") if row.get("deepep_time") is not None else row.get("time_s")
    bandwidth = row.get("global_bw") if row.get("global_bw") else row.get("bus_bw_avg")
    low, high = row.get("bus_bw_min"), row.get("bus_bw_max")
    notes = [f"bus bandwidth from {low} to {high} GB/s over ranks"] if number(low) and number(high) else []
    if row.get("bus_bw_avg") is not None and not row.get("global_bw"):
        notes.append("global bandwidth is CloudAI's mean bus bandwidth")
    backend = text(row.get("backend")) or "deepep"
    return {
        "operation": row.get("operation") or "all",
        "variant": backend if row.get("backend") else None,
        "primary": first,
        "backend": backend,
        "mode": mode,
        "num_ranks": ranks,
        "global_bw": bandwidth,
        "deepep_time": time,
        "simple_nvl_bw": _some(row.get("simple_nvl_bw")) or _some(row.get("separate_nvl_bw")),
        "simple_rdma_bw": _some(row.get("simple_rdma_bw")) or _some(row.get("separate_rdma_bw")),
        "num_tokens": row.get("num_tokens"),
        "hidden": row.get("hidden"),
        "data_type": row.get("data_type"),
        "notes": notes,
        **({"bus_bw_avg": row["bus_bw_avg"]} if "bus_bw_avg" in row else {}),
    }


def _some(value: object) -> float | None:
    found = number(value)
    return found if found else None


def _impossible(record: Mapping[str, Any], file: str) -> Iterator[Problem]:
    for key in ("global_bw", "deepep_time"):
        value = number(record.get(key))
        if value is None or value <= 0:
            text_ = f"{record['operation']}: {key} is {record.get(key)!r}, not a positive finite number"
            yield Problem("figure-impossible", text_, file)


def _log_problems(folder: Path, names: tuple[str, ...] = LOGS) -> Iterator[Problem]:
    for name in names:
        if (folder / name).is_file():
            yield from (error.problem for error in log_errors(folder / name, name))


def _files_below(top: Path, run: str, files: list[str]) -> dict[str, Path]:
    prefix = f"{run}/" if run else ""
    return {name[len(prefix) :]: top / name for name in files if name.startswith(prefix)}


def _id(run: str, top: Path) -> str:
    return run or top.resolve().name
