"""Reads what DeepEP's own tests print: V1 intranode, internode and low latency, and V2.

Formats are those of tests/legacy and tests/elastic at commit dd758ca and of the older logs that people have:
with or without the time of the notify, with a comma or a colon before the figures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from compiler.report.foreign.logs import log_errors
from compiler.report.foreign.model import ForeignRun, Problem

_NUMBER = r"(\d+(?:\.\d+)?)"
_CONFIG = re.compile(r"\[config\] num_tokens=(\d+), hidden=(\d+)(?:, num_topk_groups=(\w+))?, num_topk=(\d+)")
_BEST = re.compile(r"\[tuning\] Best (dispatch|combine)(?: \((FP8|BF16)\))?:(.*)")
_SMS = re.compile(r"SMs (\d+)")
_NVL = re.compile(rf"{_NUMBER} GB/s \(NVL\)")
_RDMA = re.compile(rf"{_NUMBER} GB/s \(RDMA\)")
_TIME = re.compile(rf"t: {_NUMBER} us")
_PARTS = re.compile(rf"{_NUMBER} \+ {_NUMBER} us")
_LL_BOTH = re.compile(
    rf"\[rank (\d+)\] Dispatch \+ combine bandwidth: {_NUMBER} GB/s, "
    rf"avg_t={_NUMBER} us, min_t={_NUMBER} us, max_t={_NUMBER} us"
)
_LL_EACH = re.compile(
    rf"\[rank (\d+)\] Dispatch bandwidth: {_NUMBER} GB/s, avg_t={_NUMBER} us \| "
    rf"Combine bandwidth: {_NUMBER} GB/s, avg_t={_NUMBER} us"
)
_V2_RANKS = re.compile(r"> Ranks: (\d+) x (\d+)")
_V2_EXPERTS = re.compile(r"> Experts: (\d+)/(\d+)")
_V2_TOKENS = re.compile(r"> Tokens: \d+ \(max: (\d+)\), hidden: (\d+)")
_V2_SMS = re.compile(r"> #SM: (\d+), #QPs: (\d+)/(\d+)")
_V2_CASE = re.compile(r"> Testing with (.*?)(?:\.\.\.)?\s*$")
_V2_LINE = re.compile(
    rf"EP:\s*(\d+)/(\d+) \| ([a-z ]+): {_NUMBER} GB/s \(SO\)(?:, {_NUMBER} GB/s \(SU\))?(?:, {_NUMBER} us)?"
)
_V2_NAMES = {
    "dispatch": ("dispatch", None),
    "expanded dispatch": ("dispatch", "expanded"),
    "cached dispatch": ("dispatch", "cached"),
    "combine": ("combine", None),
    "reduced combine": ("combine", "reduced"),
}
_LL_LINE = re.compile(r"\[rank \d+\] Dispatch ")
_V1_LINE = re.compile(r"\[(?:config|layout|testing|tuning)\] ")
_LONGEST = 64 << 20
MOST_ROUNDS = 16
"""Rounds of one test that are shown: the last ones."""


def read_outputs(path: Path, run: str) -> list[ForeignRun]:
    """Returns the runs whose output a file holds, one per test and round; none where none is DeepEP's."""
    try:
        if path.stat().st_size > _LONGEST:
            return []
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    errors = log_errors(path, path.name)
    runs: list[ForeignRun] = []
    sections = list(_sections(lines))
    for number, (kind, first, last) in enumerate(sections):
        founds = _READERS[kind](lines[first:last])
        # What stands before the first test counts against it.
        own = [e.problem for e in errors if e.line <= last and (e.again or e.line > first or not number)]
        for found in founds:
            problems = [*own, *found.problems]
            if not found.records:
                problems.append(Problem("results-missing", "the test printed no figure", path.name))
            several = len(sections) > 1 or len(founds) > 1
            runs.append(
                ForeignRun(
                    id=_name(f"{run}/{found.test}" if several else run, runs),
                    test_name=found.test,
                    description=f"Output of DeepEP's {found.test}{found.which}",
                    mode=found.mode,
                    backend=found.backend,
                    num_hosts=found.hosts,
                    num_ranks=found.ranks,
                    config=found.config,
                    records=found.records,
                    problems=problems,
                    files={path.name: path},
                    result_dir=None,
                )
            )
    return runs


def _name(wanted: str, runs: Sequence[ForeignRun]) -> str:
    """Returns an id that no run has yet."""
    known = {run.id for run in runs}
    names = [wanted, *(f"{wanted}-{number}" for number in range(2, len(runs) + 2))]
    return next(name for name in names if name not in known)


def _sections(lines: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Yields which test printed the lines from where to where: people put several into one file."""
    current, first = "", 0
    for number, line in enumerate(lines):
        kind = _kind(line)
        if not kind or kind == current or (kind == "v1" and current in ("intranode", "internode")):
            continue
        if current == "v1" and kind in ("intranode", "internode"):
            current = kind
            continue
        if current:
            yield current, first, number
            first = number
        current = kind
    if current:
        yield current, first, len(lines)


def _kind(line: str) -> str:
    """Returns the test that prints such a line, "v1" for either of two, nothing where it may be any."""
    if _V2_LINE.search(line) or _V2_RANKS.search(line) or _V2_CASE.search(line):
        return "v2"
    if _LL_LINE.search(line):
        return "low_latency"
    if not _V1_LINE.search(line):
        return ""
    if "(RDMA)" in line or "num_topk_groups=" in line:
        return "internode"
    return "intranode" if "(NVL)" in line or "[config]" in line else "v1"


class _Found:
    """What one kind of test printed."""

    def __init__(
        self, test: str, mode: str, backend: str, config: Mapping[str, Any], which: str = ""
    ) -> None:
        self.test, self.mode, self.backend, self.config, self.which = test, mode, backend, config, which
        self.hosts, self.ranks = 1, 0
        self.records: list[dict[str, Any]] = []
        self.problems: list[Problem] = []


def _v1(lines: Sequence[str]) -> list[_Found]:
    """Every host prints its own best figures: the median over hosts, with the range."""
    config = _first(_CONFIG, lines, ("num_tokens", "hidden", "num_topk_groups", "num_topk"))
    best: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        if match := _BEST.search(line):
            # A combine moves bfloat16 and does not say so.
            best.setdefault((match[1], match[2] or "BF16"), []).append(match[3])
    internode = any("(RDMA)" in text for texts in best.values() for text in texts)
    found = _Found("test_internode" if internode else "test_intranode", "standard", "deepep_v1", config)
    found.hosts = max((len(texts) for texts in best.values()), default=1)
    for (operation, kind), texts in best.items():
        nvl, rdma = _figures(_NVL, texts), _figures(_RDMA, texts)
        seconds = [_seconds(text) for text in texts]
        known = [value for value in seconds if value is not None]
        found.records.append(
            _record(found, operation, {"FP8": "fp8", "BF16": "bfloat16"}[kind], config)
            | {
                "variant": kind.lower() if operation == "dispatch" else None,
                "primary": operation == "combine" or kind == "BF16" or ("dispatch", "BF16") not in best,
                "simple_nvl_bw": median(nvl) if nvl else None,
                "simple_rdma_bw": median(rdma) if rdma else None,
                "deepep_time": median(known) if known else None,
                "num_sms": next((int(m[1]) for text in texts if (m := _SMS.search(text))), None),
                "timing": "kernel",
                "counting": "v1_internode" if internode else "v1_intranode",
                "notes": [f"median over {len(texts)} hosts, from {min(rdma):g} to {max(rdma):g} GB/s (RDMA)"]
                if len(rdma) > 1
                else [],
            }
        )
    counts = [len(texts) for texts in best.values()]
    if counts and min(counts) != max(counts):
        text = (
            f"hosts printed {min(counts)} to {max(counts)} lines of each kind: some did not come to the end"
        )
        found.problems.append(Problem("rank-missing", text))
    begun, passed = (sum(line.count(word) for line in lines) for word in ("[testing]", "passed"))
    if passed < begun:
        text = f"{begun} checks began, {passed} passed"
        found.problems.append(Problem("correctness-missing", text))
    return [found]


def _low_latency(lines: Sequence[str]) -> list[_Found]:
    """Every rank prints two lines a round; ranks' lines may run into one another."""
    both, each = (_rounds(pattern, lines) for pattern in (_LL_BOTH, _LL_EACH))
    number = max(len(both), len(each))
    return [
        _low_latency_round(
            both[index] if index < len(both) else {},
            each[index] if index < len(each) else {},
            f", round {index + 1} of {number}" if number > 1 else "",
        )
        for index in range(max(0, number - MOST_ROUNDS), number)
    ] or [_low_latency_round({}, {}, "")]


def _rounds(pattern: re.Pattern[str], lines: Sequence[str]) -> list[dict[int, Sequence[float]]]:
    """Returns what each rank printed, its first line in the first round, its second in the second."""
    rounds: list[dict[int, Sequence[float]]] = []
    printed: dict[int, int] = {}
    for line in lines:
        for match in pattern.finditer(line):
            rank = int(match[1])
            number = printed[rank] = printed.get(rank, 0) + 1
            if number > len(rounds):
                rounds.append({})
            rounds[number - 1][rank] = [float(value) for value in match.groups()[1:]]
    return rounds


def _low_latency_round(
    both: Mapping[int, Sequence[float]], each: Mapping[int, Sequence[float]], which: str
) -> _Found:
    found = _Found("test_low_latency", "low_latency", "deepep_v1", {}, which)
    ranks = {*both, *each}
    found.ranks = max(ranks) + 1 if ranks else 0
    found.hosts = max(1, -(-found.ranks // 8))
    missing = sorted(set(range(found.ranks)) - (set(both) & set(each)))
    if missing:
        found.problems.append(
            Problem("rank-missing", f"no figures of rank {', '.join(map(str, missing[:20]))}")
        )
    link = "simple_rdma_bw" if found.hosts > 1 else "simple_nvl_bw"
    rows = (
        ("both", both, 0, 1, "events"),
        ("dispatch", each, 0, 1, "kernel"),
        ("combine", each, 2, 3, "kernel"),
    )
    for operation, values, bandwidth, time, timing in rows:
        if values:
            spread = (2, 3) if operation == "both" else (time, time)
            found.records.append(
                _record(found, operation, None, {})
                | {
                    link: fmean(row[bandwidth] for row in values.values()),
                    "deepep_time": max(row[time] for row in values.values()) / 1e6,
                    "timing": timing,
                    "counting": "v1_ll",
                    "per_rank": [
                        _rank(rank, rank // 8, row[time], row[spread[0]], row[spread[1]])
                        for rank, row in sorted(values.items())
                    ],
                    "notes": [f"mean over {len(values)} ranks; the time is the slowest rank's mean"],
                }
            )
    return found


def _v2(lines: Sequence[str]) -> list[_Found]:
    """Every rank prints a line per operation of each case."""
    config = (
        _first(_V2_EXPERTS, lines, ("num_topk", "num_experts"))
        | _first(_V2_TOKENS, lines, ("num_tokens", "hidden"))
        | _first(_V2_SMS, lines, ("num_sms", "num_qps", "num_allocated_qps"))
    )
    found = _Found("test_ep", "standard", "deepep_v2", config)
    planned = next((m for line in lines if (m := _V2_RANKS.search(line))), None)
    per_host = int(planned[2]) if planned else 8
    case = ""
    cases: dict[str, dict[tuple[str, str | None], dict[int, tuple[float, float | None, float | None]]]] = {}
    for line in lines:
        if match := _V2_CASE.search(line):
            case = match[1].rstrip(" .")
        for match in _V2_LINE.finditer(line):
            found.ranks = max(found.ranks, int(match[2]))
            name = _V2_NAMES.get(match[3].strip())
            if name:
                so, su, us = (None if v is None else float(v) for v in match.groups()[3:])
                cases.setdefault(case, {}).setdefault(name, {})[int(match[1])] = (so or 0.0, su, us)
    found.hosts = int(planned[1]) if planned else max(1, found.ranks // 8)
    if planned and found.ranks and int(planned[1]) * int(planned[2]) != found.ranks:
        text = f"the test says {planned[1]} x {planned[2]} ranks, its lines {found.ranks}: hosts did not meet"
        found.problems.append(Problem("world-size", text))
    for number, (title, operations) in enumerate(cases.items(), 1):
        data_type = "fp8" if re.search(r"use_fp8\w*=(?:1|True)", title) else None
        for (operation, form), ranks in operations.items():
            variant = "".join([form or "", f", case {number}" if number > 1 else ""]).strip(", ") or None
            missing = sorted(set(range(found.ranks)) - set(ranks))
            if missing:
                text = f"{operation} ({title}): no line of rank {', '.join(map(str, missing[:20]))}"
                found.problems.append(Problem("rank-missing", text))
            times = {rank: us for rank, (_, _, us) in ranks.items() if us is not None}
            outs = [out for out, _, _ in ranks.values()]
            ups = [up for _, up, _ in ranks.values() if up is not None]
            found.records.append(
                _record(found, operation, data_type, config)
                | {
                    "variant": variant,
                    "primary": variant is None,
                    "simple_rdma_bw": fmean(outs) or None,
                    "simple_nvl_bw": fmean(ups) if ups else None,
                    "deepep_time": max(times.values()) / 1e6 if times else None,
                    "timing": "kernel",
                    "counting": "v2",
                    "per_rank": [_rank(r, r // per_host, us, us, us) for r, us in sorted(times.items())],
                    "notes": [f"case {number}: {title}"] if title else [],
                }
            )
    return [found]


_READERS = {"v1": _v1, "intranode": _v1, "internode": _v1, "low_latency": _low_latency, "v2": _v2}


def _record(
    found: _Found, operation: str, data_type: str | None, config: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "operation": operation,
        "variant": None,
        "primary": True,
        "backend": found.backend,
        "mode": found.mode,
        "data_type": data_type,
        "num_ranks": found.ranks or None,
        "num_tokens": config.get("num_tokens"),
        "hidden": config.get("hidden"),
        "global_bw": None,
        "num_sms": config.get("num_sms"),
    }


def _rank(rank: int, host: int, mean: float, low: float, high: float) -> dict[str, Any]:
    return {
        "rank": rank,
        "host": f"host {host}",
        "median_s": mean / 1e6,
        "min_s": low / 1e6,
        "max_s": high / 1e6,
    }


def _seconds(text: str) -> float | None:
    if match := _TIME.search(text):
        return float(match[1]) / 1e6
    if match := _PARTS.search(text):
        return (float(match[1]) + float(match[2])) / 1e6
    return None


def _figures(pattern: re.Pattern[str], texts: Sequence[str]) -> list[float]:
    return [float(match[1]) for text in texts if (match := pattern.search(text))]


def _first(pattern: re.Pattern[str], lines: Sequence[str], keys: Sequence[str]) -> dict[str, Any]:
    for line in lines:
        if match := pattern.search(line):
            return {
                key: int(value) if value.isdigit() else value
                for key, value in zip(keys, match.groups(), strict=True)
                if value is not None
            }
    return {}
