"""What differs between two plans that would make results of the one no results of the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

# What changes nothing that a run does: texts for people.
_IRRELEVANT = ("why_hosts", "description")
_LONGEST = 60


def differences(before: Mapping[str, Any], now: Mapping[str, Any], part: bool = False) -> list[str]:
    """Returns one line per difference of two plan.json, empty where results of ``before`` hold for ``now``.

    With ``part``, ``now`` may have fewer runs.
    """
    found = list(_heads(before, now))
    old = {run["id"]: run for run in before["runs"]}
    new = {run["id"]: run for run in now["runs"]}
    found += [f"{key} is new" for key in new if key not in old]
    if not part:
        found += [f"{key} is gone" for key in old if key not in new]
    for key, run in new.items():
        if key in old:
            found += [f"{key}: {text}" for text in _compare("", _essence(old[key]), _essence(run))]
    if not found and not part and [*old] != [*new]:
        found.append("the runs have another order")
    return found


def _heads(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if before["scenario"]["name"] != now["scenario"]["name"]:
        yield f"the scenario was {before['scenario']['name']}, is {now['scenario']['name']}"
    if before["launcher"] != now["launcher"]:
        yield f"the launcher was {before['launcher']}, is {now['launcher']}"


def _essence(run: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in run.items() if key not in _IRRELEVANT}
    definition = run.get("test_definition")
    if isinstance(definition, Mapping):
        kept["test_definition"] = {key: value for key, value in definition.items() if key not in _IRRELEVANT}
    if (run.get("slurm") or {}).get("any_hosts"):
        # A session's plan names the hosts that Slurm has chosen.
        kept["hosts"] = len(run["hosts"])
    return kept


def _compare(path: str, before: Any, now: Any) -> Iterator[str]:
    if before == now:
        return
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *(key for key in now if key not in before)]:
            name = f"{path}.{key}" if path else str(key)
            yield from _compare(name, before.get(key), now.get(key))
        return
    yield f"{path} was {_show(before)}, is {_show(now)}"


def _show(value: Any) -> str:
    text = "absent" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
