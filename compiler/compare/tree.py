"""Reads a result tree into series of independent starts. Reads only; what cannot be used is listed."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

from compiler.compare.figures import FIGURES, TESTED_KERNEL_TIME
from compiler.compare.model import LeftOut, Scalar, Series, Side, Start, Tree
from compiler.resources import host_code

UNKNOWN_HARDWARE = "not recorded"

_NOT_CONFIGURATION = frozenset(
    {
        # Limits and what was asked for: neither changes what is measured.
        "process_group_timeout_s",
        "requested_num_warmups",
        "requested_num_iterations",
        # Said under their own names, from the record.
        "mode",
        "backend",
        "data_type",
        "num_warmups",
        "num_iterations",
    }
)


class TreeError(Exception):
    """The directory cannot be compared; the text says why and what to do."""


class _UnusableError(Exception):
    """One run cannot be used; the text says why."""


def read_tree(path: Path, side: Side, verdicts: frozenset[str] = frozenset({"PASS"})) -> Tree:
    """Reads a session's directory; runs whose verdict is not in ``verdicts`` are left out.

    Raises TreeError where there is no readable plan.
    """
    host_code()
    from deepep_host.judge.session import NotAResultTreeError, read_plan

    try:
        plan = read_plan(path)
    except NotAResultTreeError as error:
        raise TreeError(str(error)) from error
    session = _optional_object(path / "run.json")
    series: dict[tuple[object, ...], Series] = {}
    left_out: list[LeftOut] = []
    for run in plan["runs"]:
        verdict = None
        try:
            judged = _verdict(path, run["id"])
            verdict = str(judged.get("verdict"))
            if verdict not in verdicts:
                raise _UnusableError(_why_not(verdict, judged))
            found = _series_of(path / run["id"], run, plan.get("hosts") or {}, judged)
        except _UnusableError as error:
            left_out.append(LeftOut(side, run["id"], _place(run), verdict, str(error)))
            continue
        for one in found:
            key = (_key(one.configuration), _key(one.settings))
            known = series.get(key)
            if known is not None:
                places = tuple(dict.fromkeys(known.places + one.places))
                one = replace(known, places=places, starts=known.starts + one.starts)
            series[key] = one
    return Tree(
        side=side,
        path=path,
        scenario=plan["scenario"]["name"],
        run_id=_text_or_none(session.get("run_id")),
        stamp=_text_or_none(session.get("stamp")),
        num_runs=len(plan["runs"]),
        series=tuple(series.values()),
        left_out=tuple(left_out),
    )


def _series_of(
    run_dir: Path, run: Mapping[str, Any], hosts: Mapping[str, Any], judged: Mapping[str, Any]
) -> list[Series]:
    from deepep_host.judge.figures import names_own_call
    from deepep_host.judge.marks import kind_of, marks_of, own_marks

    records = _records(run_dir, judged.get("result_dir"))
    metadata = [_metadata(run_dir, host["name"]) for host in run["hosts"]]
    found = []
    seen: set[str] = set()
    for record in records:
        operation = str(record.get("operation") or "operation not named")
        form = json.dumps([operation, record.get("variant"), record.get("baseline") is True])
        if form in seen:
            raise _UnusableError(f"results.json has more than one record of {operation}")
        seen.add(form)
        marks = tuple(marks_of(run, record))
        values = {figure.key: record.get(figure.key) for figure in FIGURES}
        if not names_own_call(record):
            values[TESTED_KERNEL_TIME] = values.pop("kernel_time")
        figures = {key: float(value) for key, value in values.items() if _positive(value)}
        moved = record.get("bytes")
        total = moved.get("global") if isinstance(moved, dict) else None
        start = Start(
            run["id"],
            figures,
            float(total) if _positive(total) else None,
            _circumstances(run, record, metadata),
            marks,
            tuple(own_marks(run, record)),
            _own_method(record),
        )
        configuration = _configuration(run, record, hosts, metadata)
        configuration["nsys"] = any(kind_of(mark) == "nsys" for mark in marks)
        found.append(Series(configuration, _settings(run), (_place(run),), (start,)))
    return found


def _own_method(record: Mapping[str, Any]) -> str | None:
    """Returns how DeepEP's own test was followed, without whose test it was: they often have the same way."""
    own_test = record.get("own_test")
    method = own_test.get("method") if isinstance(own_test, Mapping) else None
    return method.rpartition(": ")[2] if isinstance(method, str) else None


def _configuration(
    run: Mapping[str, Any],
    record: Mapping[str, Any],
    hosts: Mapping[str, Any],
    metadata: Sequence[Mapping[str, Any]],
) -> dict[str, Scalar]:
    config: Mapping[str, Any] = run["config"]
    names = [host["name"] for host in run["hosts"]]
    machines = {str((hosts.get(name) or {}).get("one_machine") or f"host {name}") for name in names}

    def measured(key: str, planned: object) -> Scalar:
        value = record.get(key)
        return _scalar(planned if value is None else value)

    backend = measured("backend", run["backend"])
    return {
        "operation": str(record.get("operation") or "operation not named"),
        "mode": measured("mode", run["mode"]),
        "backend": backend,
        "program": str(run["program"]),
        "variant": measured("variant", None),
        "baseline": record.get("baseline") is True,
        "data_type": measured("data_type", config.get("data_type")),
        "num_ranks": measured("num_ranks", run["world_size"]),
        "num_hosts": len(names),
        "ranks_per_host": run["ranks_per_host"],
        "machines": len(machines),
        "hardware": _hardware(metadata, on_cpu=backend == "gloo"),
        **{key: _scalar(config[key]) for key in config if key not in _NOT_CONFIGURATION},
        "num_sms": measured("num_sms", config.get("num_sms")),
        "num_qps_per_rank": measured("num_qps_per_rank", config.get("num_qps_per_rank")),
        "num_warmups": measured("num_warmups", config.get("num_warmups")),
        "num_iterations": measured("num_iterations", config.get("num_iterations")),
        "timing": measured("timing", None),
        "counting": measured("counting", None),
    }


def _settings(run: Mapping[str, Any]) -> dict[str, str]:
    definition = run.get("test_definition")
    extra = definition.get("extra_cmd_args") if isinstance(definition, dict) else None
    settings = {
        "image": run.get("image"),
        "container_runtime": run.get("container_runtime"),
        "master_interface": run.get("master_interface"),
        "mounts": run.get("mounts"),
        **{f"extra_cmd_args.{key}": value for key, value in (extra or {}).items()},
        **{f"env.{key}": value for key, value in (run.get("env") or {}).items()},
    }
    return {key: _text(value) for key, value in settings.items() if value not in (None, [], {})}


def _circumstances(
    run: Mapping[str, Any], record: Mapping[str, Any], metadata: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    found = {"hosts": ", ".join(host["name"] for host in run["hosts"])}
    versions = record.get("versions")
    if isinstance(versions, dict):
        found |= {key: str(value) for key, value in versions.items() if value is not None}
    for title, table, key in (
        ("GPU driver", "cuda", "cuda_driver_version"),
        ("Linux kernel", "system", "linux_kernel_version"),
    ):
        values = {str((host.get(table) or {}).get(key)) for host in metadata} - {"None", "null"}
        if values:
            found[title] = ", ".join(sorted(values))
    return found


def _hardware(metadata: Sequence[Mapping[str, Any]], *, on_cpu: bool) -> str:
    """Returns the GPU models of all hosts; the CPU models where the CPU does the work."""
    models: set[str] = set()
    for host in metadata:
        system = host.get("system") or {}
        if on_cpu:
            found = {f"{system.get('cpu_model_name')} ({system.get('cpu_usable', '?')} CPUs)"}
            found = set() if system.get("cpu_model_name") in (None, "null") else found
        else:
            gpus = host.get("gpus") or []
            found = {str(gpu.get("name")) for gpu in gpus if isinstance(gpu, dict)}
            found = (found or {str(system.get("gpu_arch_type"))}) - {"None", "null", ""}
        if not found:
            return UNKNOWN_HARDWARE
        models |= found
    return " + ".join(sorted(models))


def _metadata(run_dir: Path, host: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads((run_dir / "metadata" / f"node-{host}.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _verdict(top: Path, run_id: str) -> Mapping[str, Any]:
    found = _optional_object(top / run_id / "verdict.json")
    if not found:
        runs = _optional_object(top / "summary.json").get("runs")
        for one in runs if isinstance(runs, list) else []:
            if isinstance(one, dict) and one.get("run") == run_id:
                found = one
    if not found:
        raise _UnusableError("it was never judged: deepep-compiler report judges a result tree")
    return found


def _why_not(verdict: str, judged: Mapping[str, Any]) -> str:
    reasons = judged.get("reasons")
    first = reasons[0] if isinstance(reasons, list) and reasons and isinstance(reasons[0], dict) else {}
    text = first.get("text")
    return f"its verdict is {verdict}" + (f": {text}" if isinstance(text, str) else "")


def _records(run_dir: Path, result_dir: object) -> list[Mapping[str, Any]]:
    if not isinstance(result_dir, str) or ".." in PurePosixPath(result_dir).parts or result_dir[:1] == "/":
        raise _UnusableError("its verdict names no result directory")
    path = run_dir / result_dir / "results.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _UnusableError(f"{result_dir}/results.json cannot be read: {error}") from error
    value = [value] if isinstance(value, dict) else value
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        raise _UnusableError(f"{result_dir}/results.json holds no list of records")
    return value


def _optional_object(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _place(run: Mapping[str, Any]) -> str:
    step = run.get("step")
    return str(run["entry"]) if step is None else f"{run['entry']}, step {step}"


def _key(values: Mapping[str, Scalar]) -> str:
    return json.dumps(values, sort_keys=True)


def _positive(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) and value > 0


def _scalar(value: object) -> Scalar:
    return value if isinstance(value, (str, int, float, bool)) or value is None else _text(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None
