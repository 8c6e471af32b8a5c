"""``results.json``: whether the figures are there, are of what was planned, and can be true."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .codes import Reason, reason
from .evidence import Evidence, Unreadable
from .figures import is_primary, kernel_time
from .limits import Limit
from .marks import marks_of

PLANNED = {
    "tokens": "num_tokens",
    "hidden_size": "hidden",
    "num_experts": "num_experts",
    "num_topk": "num_topk",
    "data_type": "data_type",
    "num_warmups": "num_warmups",
    "num_iterations": "num_iterations",
    "shuffle_columns": "shuffle_columns",
    "round_scale": "round_scale",
    "use_ue8m0": "use_ue8m0",
    "mode": "mode",
}
"""Keys of ``config.yaml`` and what a record calls them."""

RESOLVED_BACKENDS = {"deepep": ("deepep", "deepep_v1", "deepep_v2")}
"""What a record may say where the plan leaves the choice to the image."""

SEED_FIGURES = ("global_bw", "deepep_time")
"""Figures that every program must give: positive and finite."""

OPTIONAL_FIGURES = (
    "simple_rdma_bw",
    "simple_nvl_bw",
    "wire_rdma_bw",
    "wire_nvl_bw",
    "total_time",
    "kernel_time",
)
"""Figures that may be null (what does not apply), and are positive and finite otherwise."""

HEADLINE = (
    "operation",
    "variant",
    "primary",
    "baseline",
    "mode",
    "backend",
    "data_type",
    "global_bw",
    "deepep_time",
    "simple_nvl_bw",
    "simple_rdma_bw",
    "wire_nvl_bw",
    "wire_rdma_bw",
    "total_time",
    "kernel_time",
    "timing",
    "counting",
    "num_tokens",
    "hidden",
    "num_iterations",
    "num_warmups",
    "requested_num_iterations",
    "requested_num_warmups",
    "stand_in",
)
"""Keys of a record that the summary repeats."""

_TOLERANCE = 0.01
_ROUNDING = 1e-6
_TOLD = "NOT A MEASUREMENT"
_RESULTS = "results.json"


class Results:
    """The run's result directory and its records; ``reasons`` says what is wrong with them."""

    def __init__(self, evidence: Evidence, stamp: str | None) -> None:
        self.reasons: list[Reason] = []
        self.records: list[Mapping[str, Any]] = []
        self.directory = self._find(evidence, stamp)
        if self.directory is None:
            return
        self.file = f"{self.directory}/{_RESULTS}"
        value = evidence.read_json(self.file)
        if isinstance(value, Unreadable):
            self.reasons.append(reason("results-unreadable", value.why, self.file))
            return
        if isinstance(value, dict):
            value = [value]
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            text = f"{_RESULTS} holds no list of records"
            self.reasons.append(reason("results-unreadable", text, self.file))
            return
        self.records = value

    def _find(self, evidence: Evidence, stamp: str | None) -> str | None:
        directories = sorted(
            name[: -len(_RESULTS) - 1]
            for name in evidence.files
            if name.startswith("results/") and name.endswith("/" + _RESULTS)
        )
        if len(directories) > 1 and stamp:
            digits = _digits(stamp)
            directories = [name for name in directories if digits in _digits(name)] or directories
        if len(directories) == 1:
            return directories[0]
        if not directories:
            self.reasons.append(
                reason("results-missing", "there is no results.json: no figures were written", "results")
            )
        else:
            text = "more than one result directory: " + ", ".join(directories)
            self.reasons.append(reason("results-ambiguous", text, "results"))
        return None


def check_records(evidence: Evidence, results: Results, limits: Mapping[str, Limit]) -> list[Reason]:
    """Returns what is wrong with the records, wrong data first."""
    if not results.records:
        return results.reasons
    reasons = list(results.reasons)
    seen = [record.get("operation") for record in results.records if is_primary(record)]
    if evidence.bundled:
        for operation in evidence.run["expect"]["operations"]:
            if seen.count(operation) != 1:
                what = "no record" if operation not in seen else f"{seen.count(operation)} records"
                text = f"results.json has {what} of {operation}"
                reasons.append(reason("operation-missing", text, results.file))
    for number, record in enumerate(results.records):
        reasons.extend(_check_record(evidence, results.file, number, record, limits))
    return sorted(reasons, key=lambda r: r["code"] != "wrong-data")


def headline(run: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns what the summary repeats of each record; a value that is no plain JSON value becomes null."""
    return [
        {
            **{key: _plain(record.get(key)) for key in HEADLINE},
            "kernel_time": _plain(kernel_time(record)),
            "marks": marks_of(run, record),
        }
        for record in records
    ]


def _check_record(
    evidence: Evidence, file: str, number: int, record: Mapping[str, Any], limits: Mapping[str, Limit]
) -> list[Reason]:
    name = str(record.get("operation") or f"record {number + 1}")
    problems = [
        *_notes(record),
        *_figures(record, evidence.bundled, limits),
        *_against_plan(evidence, record),
    ]
    if evidence.bundled:
        problems += [*_correctness(record), *_ranks(evidence, record), *_contradictions(record)]
    return [reason(code, f"{name}: {text}", file) for code, text in problems]


def _notes(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    notes = record.get("notes")
    told = [str(note) for note in notes if str(note).startswith(_TOLD)] if isinstance(notes, list) else []
    return [("not-a-measurement", note) for note in told]


def _figures(record: Mapping[str, Any], bundled: bool, limits: Mapping[str, Limit]) -> list[tuple[str, str]]:
    problems = []
    for key in (*SEED_FIGURES, *OPTIONAL_FIGURES):
        value = record.get(key)
        if value is None:
            if key in SEED_FIGURES:
                problems.append(("record-incomplete", f"{key} is missing"))
            elif bundled and key not in record:
                problems.append(("record-incomplete", f"{key} is missing (null where it does not apply)"))
        elif not _number(value):
            problems.append(("record-incomplete", f"{key} is {value!r}, not a number"))
        elif not _positive(value):
            # The image's program writes 0 for a link that it did not measure.
            if bundled or key in SEED_FIGURES or value != 0:
                problems.append(("figure-impossible", f"{key} is {value!r}, not a positive finite number"))
        elif key in limits and value > limits[key].rate:
            limit = limits[key]
            text = f"{key} is {value:g} GB/s: the link carries {limit.rate:g} at most ({limit.source})"
            problems.append(("link-limit", text))
    return problems


def _against_plan(evidence: Evidence, record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Compares the record's sizes with the plan's: what is measured must be what was asked for."""
    problems = []
    config = evidence.run["config"]
    pairs = [(key, config[name], record.get(key)) for name, key in PLANNED.items() if name in config]
    pairs.append(("num_hosts", len(evidence.hosts), record.get("num_hosts")))
    pairs.append(("ranks_per_host", evidence.run["ranks_per_host"], record.get("ranks_per_host")))
    for key, planned, measured in pairs:
        if measured is None:
            if evidence.bundled or key in ("num_tokens", "hidden"):
                problems.append(("record-incomplete", f"{key} is missing"))
        elif type(measured) is not type(planned) or measured != planned:
            problems.append(("config-differs", f"{key} is {measured!r}, the plan says {planned!r}"))
    backend = record.get("backend")
    if backend is None:
        if evidence.bundled:
            problems.append(("record-incomplete", "backend is missing"))
    elif record.get("baseline") is not True and backend not in RESOLVED_BACKENDS.get(
        evidence.run["backend"], (evidence.run["backend"],)
    ):
        text = f"the backend is {backend!r}, the plan says {evidence.run['backend']!r}"
        problems.append(("config-differs", text))
    ranks = record.get("num_ranks")
    if ranks is None:
        if evidence.bundled:
            problems.append(("record-incomplete", "num_ranks is missing"))
    elif ranks != evidence.world_size:
        text = f"{ranks!r} ranks took part, the plan says {evidence.world_size}"
        problems.append(("world-size", text))
    return problems


def _correctness(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    checked = record.get("correctness")
    if not isinstance(checked, dict):
        return [("correctness-missing", "the record does not say whether the data were right")]
    problems = []
    for when in ("before", "after"):
        if checked.get(when) is False:
            problems.append(("wrong-data", f"the data were wrong {when} timing"))
        elif checked.get(when) is not True:
            problems.append(("correctness-missing", f"the data were not checked {when} timing"))
    elements = checked.get("elements_checked")
    if not problems and not (isinstance(elements, int) and elements > 0):
        problems.append(("correctness-missing", f"elements_checked is {elements!r}: nothing was compared"))
    return problems


def _ranks(evidence: Evidence, record: Mapping[str, Any]) -> list[tuple[str, str]]:
    per_rank = record.get("per_rank")
    if not isinstance(per_rank, list) or not all(isinstance(item, dict) for item in per_rank):
        return [("record-incomplete", "per_rank is no list of objects")]
    ranks = [item.get("rank") for item in per_rank]
    if ranks != list(range(evidence.world_size)):
        return [("world-size", f"per_rank holds ranks {ranks!r}, the plan has {evidence.world_size} ranks")]
    for item in per_rank:
        for key in ("mean_s", "min_s", "max_s"):
            if not _number(item.get(key)):
                return [("record-incomplete", f"per_rank: {key} of rank {item['rank']} is {item.get(key)!r}")]
            if not _positive(item[key]):
                return [("figure-impossible", f"per_rank: {key} of rank {item['rank']} is {item[key]!r}")]
        if not item["min_s"] <= item["mean_s"] * (1 + 1e-9) or not item["mean_s"] <= item["max_s"] * (
            1 + 1e-9
        ):
            text = f"per_rank: the mean of rank {item['rank']} is outside its minimum and maximum"
            return [("figure-impossible", text)]
    return []


def _contradictions(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Compares figures that follow from each other: the median with its iterations, bandwidth with bytes."""
    times, sent = record.get("time_s"), record.get("bytes")
    if not isinstance(times, dict) or not _number(times.get("median")):
        return [("record-incomplete", "time_s.median is missing")]
    if not isinstance(sent, dict) or not _number(sent.get("global")):
        return [("record-incomplete", "bytes.global is missing")]
    if not _positive(times["median"]) or not _positive(sent["global"]):
        return [("figure-impossible", "time_s.median and bytes.global must be positive and finite")]
    problems = []
    iterations = times.get("iterations")
    if not isinstance(iterations, list) or not all(_number(value) for value in iterations):
        problems.append(("record-incomplete", "time_s.iterations is no list of numbers"))
    elif len(iterations) != record.get("num_iterations"):
        text = f"{len(iterations)} iterations were timed, num_iterations is {record.get('num_iterations')!r}"
        problems.append(("figure-impossible", text))
    elif not all(_positive(value) for value in iterations):
        problems.append(("figure-impossible", "an iteration's time is not positive and finite"))
    time, bandwidth = _usable(record.get("deepep_time")), _usable(record.get("global_bw"))
    if time and bandwidth:
        if not math.isclose(time, times["median"], rel_tol=_TOLERANCE):
            problems.append(
                ("figure-impossible", f"deepep_time {time:g} s is not the median {times['median']:g} s")
            )
        elif not math.isclose(bandwidth * 1e9 * time, sent["global"], rel_tol=_TOLERANCE):
            text = f"global_bw {bandwidth:g} GB/s is not {sent['global']:g} bytes over {time:g} s"
            problems.append(("figure-impossible", text))
    return problems


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _usable(value: Any) -> float | None:
    return float(value) if _number(value) and _positive(value) else None


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool)) else None


def _digits(text: str) -> str:
    return "".join(c for c in text if c.isdigit())
