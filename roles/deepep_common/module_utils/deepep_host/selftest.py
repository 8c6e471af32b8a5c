"""Which hosts failed their self-test, and which are slower than the others.

The score is Iglewicz and Hoaglin's modified z-score, 0.6745 (x - median) / MAD, which outliers do not move,
with their limit of 3.5 (How to Detect and Handle Outliers, 1993). A host must also differ by more than 5 %:
where all others agree to a permille, a percent is no fault. For three or four hosts a score means nothing;
there a host stands out by 10 % of the median. Of two that differ nothing tells which one is at fault.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median, median_low
from typing import Any

from .files import read_json, run_path

SCHEMA = 1
LIMIT = 3.5
LEAST_SHARE = 0.05
FEWEST = 5
"""With fewer hosts there is no score."""
FEW_SHARE = 0.10
"""With three or four, how far from the median a host stands out; with two, what is worth a note."""

SLOWER, FASTER = "slower", "faster"
COMPLETED = ("PASS", "UNVERIFIED")


def compare(folder: Path, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``selftest.json``: ``hosts`` with verdict and times, ``groups``, ``outliers``, ``failed``.

    ``folder`` is the session's; hosts are compared where their self-tests had the same arguments.
    """
    runs = {run["id"]: run for run in plan["runs"]}
    hosts: dict[str, dict[str, Any]] = {}
    groups: dict[str, list[str]] = {}
    for host, key in plan["selftest"].items():
        verdict = read_json(run_path(folder, key) / "verdict.json") or {}
        reasons = verdict.get("reasons") or [{}]
        hosts[host] = {
            "run": key,
            "verdict": verdict.get("verdict", "NOT_RUN"),
            "reason": None if verdict.get("verdict") in COMPLETED else reasons[0].get("text"),
            "times_s": _times(verdict.get("operations") or ()),
        }
        groups.setdefault(_kind(runs[key]), []).append(host)
    compared = [_group({name: hosts[name] for name in names}) for names in groups.values()]
    return {
        "schema": SCHEMA,
        "hosts": hosts,
        "groups": compared,
        "failed": [name for name, host in hosts.items() if host["verdict"] not in COMPLETED],
        "outliers": [one for group in compared for one in group["outliers"]],
    }


def _kind(run: Mapping[str, Any]) -> str:
    """Returns a text that is the same for runs whose times can be compared."""
    facts = [
        run["program"],
        run["backend"],
        run["mode"],
        run["ranks_per_host"],
        run["config"],
        run["env"],
        run["image"],
    ]
    return json.dumps(facts, sort_keys=True)


def _times(operations: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns the time of each operation that is no baseline, s, by its name and variant."""
    found = {}
    for one in operations:
        time = one.get("deepep_time")
        if one.get("baseline") is not True and isinstance(time, (int, float)) and time > 0:
            variant = one.get("variant")
            found[f"{one.get('operation')}{f' {variant}' if variant else ''}"] = float(time)
    return found


def _group(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    good = {name: host["times_s"] for name, host in hosts.items() if host["verdict"] in COMPLETED}
    group: dict[str, Any] = {"hosts": list(hosts), "operations": {}, "outliers": [], "note": None}
    apart = []
    for operation in dict.fromkeys(name for times in good.values() for name in times):
        times = {host: found[operation] for host, found in good.items() if operation in found}
        # Of four hosts, two of which are slow, the fast two are the healthy ones.
        middle = (median if len(times) >= FEWEST else median_low)(times.values())
        spread = median(abs(time - middle) for time in times.values())
        group["operations"][operation] = {
            "median_s": middle,
            "mad_s": spread,
            "fastest_s": min(times.values()),
            "fastest": min(times, key=lambda host: times[host]),
            "slowest_s": max(times.values()),
            "slowest": max(times, key=lambda host: times[host]),
        }
        if len(times) < 3:
            apart.append((operation, group["operations"][operation]))
            continue
        for host, time in times.items():
            away = abs(time - middle)
            score = _score(time, middle, spread) if len(times) >= FEWEST else None
            if score is not None or (len(times) < FEWEST and away > FEW_SHARE * middle):
                found = {
                    "host": host,
                    "operation": operation,
                    "time_s": time,
                    "median_s": middle,
                    "score": score,
                }
                percent = round(100 * away / middle, 1)
                group["outliers"].append(
                    {**found, "is": SLOWER if time > middle else FASTER, "percent": percent}
                )
    group["note"] = _note(good, apart)
    return group


def _note(
    good: Sequence[str] | Mapping[str, Any], apart: Sequence[tuple[str, Mapping[str, Any]]]
) -> str | None:
    """Returns what cannot be told of one or two hosts; ``apart``: the operations that two of them made."""
    if len(good) == 1:
        return f"{next(iter(good))} has no other host to be compared with"
    told = [
        f"{operation} takes {100 * (one['slowest_s'] / one['fastest_s'] - 1):.1f} % longer on "
        f"{one['slowest']} than on {one['fastest']}"
        for operation, one in apart
        if one["slowest_s"] > (1 + FEW_SHARE) * one["fastest_s"]
    ]
    return f"{', '.join(told)}: of two hosts nothing tells which one is at fault" if told else None


def _score(time: float, middle: float, spread: float) -> float | None:
    """Returns the modified z-score of an outlier, None for a host that is none."""
    away = abs(time - middle)
    if away <= LEAST_SHARE * middle:
        return None
    # Where more than half of the hosts agree exactly, MAD is 0: any of the rest is an outlier then.
    score = 0.6745 * away / spread if spread else LIMIT + 1
    return round(score, 1) if score > LIMIT else None


def lines(found: Mapping[str, Any]) -> list[str]:
    """Returns the table for people: failures, outliers, then how far apart the hosts are."""
    hosts = found["hosts"]
    text = [f"self-test of {len(hosts)} hosts: {len(hosts) - len(found['failed'])} passed"]
    text += [
        f"  failed    {name}  {hosts[name]['verdict']}: {hosts[name]['reason']}" for name in found["failed"]
    ]
    text += [
        "  {is:8}  {host}  {operation} takes {us:.1f} us, {percent:g} % {is} than the median".format(
            us=1e6 * one["time_s"], **one
        )
        for one in found["outliers"]
    ]
    for group in found["groups"]:
        for operation, told in group["operations"].items():
            text.append(
                f"  {operation}: {1e6 * told['fastest_s']:.1f} us ({told['fastest']}) to "
                f"{1e6 * told['slowest_s']:.1f} us ({told['slowest']}), "
                f"median {1e6 * told['median_s']:.1f} us ({len(group['hosts'])} hosts)"
            )
        if group["note"]:
            text.append(f"  {group['note']}")
    return text
