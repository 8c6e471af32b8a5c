"""The preflight of many hosts as one short table: what several hosts say alike stands once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .model import FAIL, PASS, UNKNOWN, WARN

_ORDER = (FAIL, WARN, UNKNOWN, PASS)
_NAMED = 4


class Finding(NamedTuple):
    """What a check said of some hosts alike."""

    result: str
    name: str
    hosts: Sequence[str]
    text: str
    remedy: str


def findings(
    hosts: Mapping[str, Mapping[str, Any]], across: Sequence[Mapping[str, Any]] = ()
) -> list[Finding]:
    """Returns what was found, what is wrong first.

    ``hosts``: each host's preflight, in the order of the plan; ``across``: what :mod:`.across` compared.
    """
    return sorted([*_of_hosts(hosts), *_compared(across)], key=lambda one: _ORDER.index(one.result))


def table(hosts: Mapping[str, Mapping[str, Any]], across: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """Returns the lines for people: what is wrong first, with its way out, then what passed."""
    found = findings(hosts, across)
    if not found:
        return ["preflight: no host"]
    rows = [(one.result, one.name, where(one.hosts, len(hosts)), one.text, one.remedy) for one in found]
    wide = [max(len(row[column]) for row in [*rows, _HEAD]) for column in range(3)]
    lines = [summary(hosts), "  ".join(cell.ljust(width) for cell, width in zip(_HEAD, wide)) + "  finding"]
    for *cells, text, remedy in rows:
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(cells, wide)) + f"  {text}")
        if remedy:
            lines.append(f"{'':{sum(wide) + 6}}-> {remedy}")
    idle = sorted(
        set.intersection(*(set(found.get("not_needed") or ()) for found in hosts.values())) if hosts else ()
    )
    if idle:
        lines.append(f"not needed by the runs here: {', '.join(idle)}")
    return lines


_HEAD = ("result", "check", "host")


def _of_hosts(hosts: Mapping[str, Mapping[str, Any]]) -> Iterable[Finding]:
    order: dict[str, None] = {}
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for host, found in hosts.items():
        for line in found["checks"]:
            order.setdefault(line["name"])
            # Where a check passed, hosts differ in what does not matter (free space): one line for all.
            text = "" if line["result"] == PASS else line["text"]
            groups.setdefault((line["name"], line["result"], text, line["remedy"]), []).append(host)
    names = list(order)
    silent: dict[tuple[tuple[str, ...], str, str], list[str]] = {}
    for (name, result, text, remedy), told in sorted(groups.items(), key=lambda one: names.index(one[0][0])):
        if result == UNKNOWN:
            silent.setdefault((tuple(told), text, remedy), []).append(name)
        elif result == PASS:
            first = next(line["text"] for line in hosts[told[0]]["checks"] if line["name"] == name)
            yield Finding(result, name, told, first, remedy)
        else:
            yield Finding(result, name, told, text, remedy)
    for (silenced, text, remedy), several in silent.items():
        many = len(several) > 1
        yield Finding(UNKNOWN, f"{len(several)} checks" if many else several[0], silenced,
                      f"{text} ({', '.join(several)})" if many else text, remedy)  # fmt: skip


def _compared(across: Sequence[Mapping[str, Any]]) -> Iterable[Finding]:
    for group in across:
        for line in group["checks"]:
            yield Finding(line["result"], line["name"], group["hosts"], line["text"], line["remedy"])


def where(hosts: Sequence[str], total: int) -> str:
    """Returns the hosts in few words; ``total``: how many there are."""
    if len(hosts) == total and total > 1:
        return f"all {total}"
    more = f" and {len(hosts) - _NAMED} more" if len(hosts) > _NAMED else ""
    return ", ".join(hosts[:_NAMED]) + more


def summary(hosts: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns how many hosts passed, in one line."""
    results = [found["result"] for found in hosts.values()]
    counts = ", ".join(
        f"{results.count(result)} {result}" for result in (PASS, WARN, FAIL) if result in results
    )
    # Of many hosts alike, each question is open once.
    open_questions = len(
        {line["name"] for found in hosts.values() for line in found["checks"] if line["result"] == UNKNOWN}
    )
    text = f"preflight of {len(hosts)} host{'' if len(hosts) == 1 else 's'}: {counts}"
    plural = "" if open_questions == 1 else "s"
    return text + (f"; {open_questions} check{plural} could not be made" if open_questions else "")
