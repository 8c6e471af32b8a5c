"""Reads what the hosts said of themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compiler.report.examined import PREFLIGHT
from compiler.report.model import Host, Run
from compiler.report.values import flatten, mapping, read_json, read_toml, text


def read_hosts(top: Path, plan: Mapping[str, Any], runs: Sequence[Run]) -> list[Host]:
    """Returns the hosts that took part in runs, each with the same keys."""
    known = mapping(plan.get("hosts"))
    used = list(dict.fromkeys(name for run in runs for name in run.hosts))
    found = []
    for name in used:
        facts: dict[str, Any] = {}
        for run in runs:
            if name in run.hosts:
                facts |= flatten(read_toml(top / run.id / "metadata" / f"node-{name}.toml"))
                if facts:
                    break
        found.append(
            (
                name,
                {key: None if value in ("null", "", None) else _fact(value) for key, value in facts.items()},
            )
        )
    keys = dict.fromkeys(key for _, facts in found for key in facts)
    examined = mapping(mapping(read_json(top / PREFLIGHT)).get("hosts"))
    return [
        Host(
            name=name,
            machine=text(mapping(known.get(name)).get("one_machine")) or None,
            connection=text(mapping(known.get(name)).get("connection")),
            runs=sum(name in run.hosts for run in runs),
            preflight=text(examined.get(name)),
            facts={key: facts.get(key) for key in keys},
        )
        for name, facts in found
    ]


def _fact(value: object) -> str:
    return ", ".join(map(text, value)) if isinstance(value, list) else text(value)
