"""Makes reference values of a run: what it measured becomes what later runs are held to."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from compiler.reference.load import UnusableReferencesError, read_file
from compiler.resources import host_code

FIGURES = ("deepep_time", "kernel_time", "simple_nvl_bw", "simple_rdma_bw")
"""What is accepted, where a record has it."""

KEYS = (
    "backend", "program", "mode", "operation", "variant", "data_type", "num_ranks", "num_hosts", "num_tokens",
    "hidden", "num_experts", "num_topk", "timing", "counting", "use_logfmt", "round_scale",
    "use_ue8m0",
)  # fmt: skip
"""Keys of a record that a reference matches, where they are not null."""

ROUTING = ("kind", "num_groups", "num_topk_groups", "imbalance")
"""Keys of a record's routing that say what was asked for. Which experts were chosen differs by seed."""

TOLERANCE = 0.1
"""A run may be worse by this share, or by as much as the starts themselves differ, whichever is more."""

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was written: new and replaced references, and runs that were left out with the reason."""

    new: int
    replaced: int
    left_out: Sequence[str]


class NothingToAcceptError(Exception):
    """The tree holds no figure that could be a reference; the text says why."""


def accept(
    results: Path, target: Path, tolerance: float = TOLERANCE, include_marked: bool = False
) -> Accepted:
    """Writes the figures of a tree's PASS runs into ``target``, replacing those of equal match and figure.

    Records with marks (throttled, shared, under nsys, conditions unknown) are left out unless
    ``include_marked``: what a GPU did in trouble is nothing to hold others to.

    Raises NothingToAcceptError, UnusableReferencesError for a ``target`` that is no file of references,
    NotAResultTreeError, and OSError.
    """
    host_code()
    from deepep_host.files import write_text
    from deepep_host.judge.session import read_plan
    from deepep_host.toml_writer import dumps

    plan = read_plan(results)
    session = _object(results / "run.json")
    found, left_out = _starts(results, plan, include_marked)
    if not found:
        raise NothingToAcceptError(
            f"{results} holds no figure of a run that passed" + "".join(f"\n  {why}" for why in left_out)
        )
    known: list[dict[str, Any]] = read_file(target)["reference"] if target.exists() else []
    title = read_file(target)["title"] if target.exists() else f"Accepted from {plan['scenario']['name']}"
    by_key = {_key(reference): reference for reference in known}
    replaced = 0
    fresh = [
        _reference(match, figure, values, tolerance, plan, session)
        for (match, figure), values in found.items()
    ]
    for reference in fresh:
        replaced += _key(reference) in by_key
        by_key[_key(reference)] = reference
    document = {"schema": 1, "title": title, "reference": list(by_key.values())}
    write_text(str(target), dumps(document))
    return Accepted(len(fresh) - replaced, replaced, left_out)


def _starts(
    results: Path, plan: Mapping[str, Any], include_marked: bool
) -> tuple[dict[tuple[str, str], list[float]], list[str]]:
    from deepep_host.judge.figures import OWN_CALL
    from deepep_host.judge.hardware import PREFLIGHT, read_hardware
    from deepep_host.judge.reference import KERNEL_TIME

    found: dict[tuple[str, str], list[float]] = {}
    left_out = []
    for run in plan["runs"]:
        run_dir = results / run["id"]
        judged = _object(run_dir / "verdict.json")
        if judged.get("verdict") != "PASS":
            left_out.append(f"{run['id']}: its verdict is {judged.get('verdict') or 'missing'}")
            continue
        names = [host["name"] for host in run["hosts"]]
        metadata = (run_dir / f"metadata/node-{name}.toml" for name in names)
        hardware = read_hardware(metadata, results / PREFLIGHT)
        for record in _records(run_dir / str(judged.get("result_dir")) / "results.json"):
            models = hardware.cpus if record.get("backend") == "gloo" else hardware.gpus
            if len(models) != 1:
                left_out.append(f"{run['id']}: its hosts' hardware is not known, or differs: {list(models)}")
                break
            match = {"cpu" if record.get("backend") == "gloo" else "gpu": models[0]}
            if hardware.nic_gbit_s is not None and len(names) > 1:
                match["nic_gbit_s"] = hardware.nic_gbit_s  # type: ignore[assignment]
            version = (record.get("versions") or {}).get("deep_ep")
            match |= {"deep_ep": version} if version else {}
            match |= {key: record[key] for key in KEYS if record.get(key) is not None}
            match |= _derived(record)
            taken, why_not = _figures(run, record, include_marked)
            for figure, value in taken.items():
                of_call = {"schema": OWN_CALL} if figure == KERNEL_TIME else {}
                found.setdefault((json.dumps(match | of_call), figure), []).append(value)
            variant = f" ({record['variant']})" if record.get("variant") else ""
            left_out += [f"{run['id']}, {record.get('operation')}{variant}: {text}" for text in why_not]
    return found, left_out


def _figures(
    run: Mapping[str, Any], record: Mapping[str, Any], include_marked: bool
) -> tuple[dict[str, float], list[str]]:
    """Returns the figures of a record that others may be held to, and why not the rest."""
    from deepep_host.judge.figures import names_own_call
    from deepep_host.judge.marks import marks_of
    from deepep_host.judge.reference import KERNEL_TIME

    found = {
        figure: float(value)
        for figure in FIGURES
        if isinstance(value := record.get(figure), int | float) and not isinstance(value, bool) and value > 0
    }
    why_not = []
    if KERNEL_TIME in found and not names_own_call(record):
        del found[KERNEL_TIME]
        why_not.append("its kernel_time is of the call of DeepEP's own test, as older programs measured it")
    marked: dict[str, list[str]] = {}
    for figure in found:
        if not include_marked and (marks := marks_of(run, record, figure)):
            marked.setdefault("; ".join(marks), []).append(figure)
    for text, figures in marked.items():
        what = "it" if len(figures) == len(found) else f"its {' and '.join(figures)}"
        why_not.append(f"{what} is marked: {text} (--include-marked takes it)")
    left = {figure for figures in marked.values() for figure in figures}
    return {figure: value for figure, value in found.items() if figure not in left}, why_not


def _derived(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a reference says in other words than the record."""
    from deepep_host.judge.reference import sms_used

    sms, routing = sms_used(record), record.get("routing")
    found: dict[str, Any] = {} if sms is None else {"num_sms": sms}
    if isinstance(routing, Mapping):
        # A trace is known by what it holds alone.
        keys = ("kind", "sha256") if routing.get("kind") == "trace" else ROUTING
        found["routing"] = {key: routing[key] for key in keys if routing.get(key) is not None}
    return found


def _reference(
    match: str,
    figure: str,
    values: Sequence[float],
    tolerance: float,
    plan: Mapping[str, Any],
    session: Mapping[str, Any],
) -> dict[str, Any]:
    logs = [math.log(value) for value in values]
    middle = fmean(logs)
    reference: dict[str, Any] = {"match": json.loads(match), "figure": figure, "value": math.exp(middle)}
    if len(values) > 1:
        from scipy.stats import t

        half = float(t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1)) * stdev(logs) / math.sqrt(len(values))
        reference["interval"] = [math.exp(middle - half), math.exp(middle + half)]
        tolerance = min(max(tolerance, 1 - math.exp(min(logs) - max(logs))), 0.99)
    reference |= {"tolerance": tolerance, "starts": len(values)}
    provenance = {"kind": "measured", "source": f"deepep-compiler, scenario {plan['scenario']['name']}"}
    for key, value in (("date", session.get("started_at")), ("run_id", session.get("run_id"))):
        if isinstance(value, str):
            provenance[key] = value
    return reference | {"provenance": provenance}


def _key(reference: Mapping[str, Any]) -> str:
    return json.dumps([reference["match"], reference["figure"]], sort_keys=True)


def _records(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict) and item.get("baseline") is not True:
            yield item


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


__all__ = ["Accepted", "NothingToAcceptError", "UnusableReferencesError", "accept"]
