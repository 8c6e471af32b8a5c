"""The preflight of many hosts as one short table: what several hosts say alike stands once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .model import FAIL, PASS, UNKNOWN, WARN

_ORDER = (FAIL, WARN, UNKNOWN, PASS)
_NAMED = 4


class _Row(NamedTuple):
    result: str
    name: str
    where: str
    text: str
    remedy: str


def table(hosts: Mapping[str, Mapping[str, Any]], across: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """Returns the lines: what is wrong first, with its way out, then what passed.

    ``hosts``: each host's preflight, in the order of the plan; ``across``: what :mod:`.across` compared.
    """
    rows = [*_rows(hosts), *_compared(across)]
    if not rows:
        return ["preflight: no host"]
    rows.sort(key=lambda row: _ORDER.index(row[0]))
    wide = [max(len(row[column]) for row in [*rows, _HEAD]) for column in range(3)]
    lines = [_summary(hosts), "  ".join(cell.ljust(width) for cell, width in zip(_HEAD, wide)) + "  finding"]
    for result, name, where, text, remedy in rows:
        lines.append(
            "  ".join(cell.ljust(width) for cell, width in zip((result, name, where), wide)) + f"  {text}"
        )
        if remedy:
            lines.append(f"{'':{sum(wide) + 6}}-> {remedy}")
    idle = sorted(
        set.intersection(*(set(found.get("not_needed") or ()) for found in hosts.values())) if hosts else ()
    )
    if idle:
        lines.append(f"not needed by the runs here: {', '.join(idle)}")
    return lines


_HEAD = ("result", "check", "host")


def _rows(hosts: Mapping[str, Mapping[str, Any]]) -> Iterable[_Row]:
    order: dict[str, None] = {}
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for host, found in hosts.items():
        for line in found["checks"]:
            order.setdefault(line["name"])
            # Where a check passed, hosts differ in what does not matter (free space): one line for all.
            text = "" if line["result"] == PASS else line["text"]
            groups.setdefault((line["name"], line["result"], text, line["remedy"]), []).append(host)
    names = list(order)
    silent: dict[tuple[str, str, str], list[str]] = {}
    for (name, result, text, remedy), where in sorted(groups.items(), key=lambda one: names.index(one[0][0])):
        shown = _where(where, len(hosts))
        if result == UNKNOWN:
            silent.setdefault((shown, text, remedy), []).append(name)
        elif result == PASS:
            told = (line["text"] for line in hosts[where[0]]["checks"] if line["name"] == name)
            yield _Row(result, name, shown, next(told), remedy)
        else:
            yield _Row(result, name, shown, text, remedy)
    for (shown, text, remedy), several in silent.items():
        many = len(several) > 1
        yield _Row(UNKNOWN, f"{len(several)} checks" if many else several[0], shown,
                   f"{text} ({', '.join(several)})" if many else text, remedy)  # fmt: skip


def _compared(across: Sequence[Mapping[str, Any]]) -> Iterable[_Row]:
    for group in across:
        for line in group["checks"]:
            yield _Row(line["result"], line["name"], _where(group["hosts"], -1), line["text"], line["remedy"])


def _where(hosts: Sequence[str], total: int) -> str:
    if len(hosts) == total and total > 1:
        return f"all {total}"
    more = f" and {len(hosts) - _NAMED} more" if len(hosts) > _NAMED else ""
    return ", ".join(hosts[:_NAMED]) + more


def _summary(hosts: Mapping[str, Mapping[str, Any]]) -> str:
    results = [found["result"] for found in hosts.values()]
    counts = ", ".join(
        f"{results.count(result)} {result}" for result in (PASS, WARN, FAIL) if result in results
    )
    open_questions = sum(line["result"] == UNKNOWN for found in hosts.values() for line in found["checks"])
    text = f"preflight of {len(hosts)} host{'' if len(hosts) == 1 else 's'}: {counts}"
    return text + (f"; {open_questions} checks could not be made" if open_questions else "")
