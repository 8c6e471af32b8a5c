"""Reads what is known of the hosts from before the runs: their preflight and their self-tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compiler.report.host_judge import preflight
from compiler.report.model import Finding, Preflight, SelfTest, SelfTested, SelfTestTime
from compiler.report.values import mapping, number, objects, read_json, text

PREFLIGHT = "preflight.json"
SELFTEST = "selftest.json"
_RESULTS = (preflight.PASS, preflight.WARN, preflight.FAIL, preflight.UNKNOWN)


def read_preflight(top: Path) -> Preflight | None:
    """Returns what examining the hosts gave, None where they were not examined."""
    whole = mapping(read_json(top / PREFLIGHT))
    results = mapping(whole.get("hosts"))
    if not results:
        return None
    hosts = {
        # What came after the table, of the network and the images, is in the host's own file.
        name: {"result": text(mapping(found).get("result")) or text(result), "checks": _checks(found)}
        for name, result in results.items()
        if "/" not in name
        for found in [read_json(top / "preflight" / f"{name}.json")]
    }
    across = [{"hosts": _names(group), "checks": _checks(group)} for group in objects(whole.get("across"))]
    return Preflight(
        summary=preflight.summary(hosts).removeprefix("preflight of "),
        findings=[
            Finding(one.result, one.name, preflight.where(one.hosts, len(hosts)), one.text, one.remedy)
            for one in preflight.findings(hosts, across)
        ],
        refused={run: text(why) for run, why in mapping(whole.get("refused")).items()},
    )


def _names(group: Mapping[str, Any]) -> list[str]:
    """Returns the hosts of a group."""
    hosts = group.get("hosts")
    return [text(host) for host in hosts] if isinstance(hosts, list) else []


def _checks(found: object) -> list[dict[str, str]]:
    """Returns the checks of a file that may hold anything."""
    return [
        {key: text(check.get(key)) for key in ("name", "result", "text", "remedy")}
        for check in objects(mapping(found).get("checks"))
        if check.get("result") in _RESULTS
    ]


def read_selftest(top: Path, anchors: Mapping[str, str]) -> SelfTest | None:
    """Returns how every host did alone, None without self-tests. ``anchors``: of each run on the page."""
    whole = mapping(read_json(top / SELFTEST))
    found = mapping(whole.get("hosts"))
    if not found:
        return None
    groups = objects(whole.get("groups"))
    outliers = {
        (text(one.get("host")), text(one.get("operation"))): text(one.get("is"))
        for one in objects(whole.get("outliers"))
    }
    hosts = [
        SelfTested(
            host=name,
            anchor=anchors.get(text(mapping(host).get("run")), ""),
            reason=text(mapping(host).get("reason")),
            times={
                operation: SelfTestTime(
                    time, _relative(time, medians.get(operation)), outliers.get((name, operation), "")
                )
                for operation, value in mapping(mapping(host).get("times_s")).items()
                if (time := number(value)) is not None
            },
        )
        for name, host in found.items()
        for medians in [_medians(groups, name)]
    ]
    return SelfTest(
        hosts=sorted(hosts, key=lambda one: (not one.reason, not one.outliers)),
        operations=list(dict.fromkeys(operation for one in hosts for operation in one.times)),
        notes=[text(group["note"]) for group in groups if group.get("note")],
    )


def _medians(groups: list[dict[str, Any]], host: str) -> dict[str, float | None]:
    """Returns the median of each operation over the hosts that were tested alike."""
    for group in groups:
        if host in _names(group):
            spread = mapping(group.get("operations"))
            return {name: number(mapping(one).get("median_s")) for name, one in spread.items()}
    return {}


def _relative(time: float, median: float | None) -> float | None:
    return time / median - 1 if median else None
