"""A part of a plan: some runs by id, with those that cannot run without them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence, Set
from dataclasses import dataclass, replace

from compiler.plan.hooks import POST, PRE
from compiler.plan.model import Plan

_OVERLAPS = ("start_post_init", "end_post_comp")


@dataclass(frozen=True, slots=True)
class Selection:
    """The runs to execute. ``joined`` are those of them that nobody named: they belong to others."""

    runs: frozenset[str]
    joined: tuple[str, ...]


def named(plan: Plan, ids: Sequence[str]) -> tuple[frozenset[str], list[str]]:
    """Returns the runs that are meant by ids of entries or runs, and the ids that mean none.

    ``Tests.1`` means all runs of that entry, ``Tests.1/0`` the points of its first iteration, or that run.
    """
    found: set[str] = set()
    unknown = []
    for wanted in ids:
        matching = [run.id for run in plan.runs if run.id == wanted or run.id.startswith(wanted + "/")]
        found.update(matching)
        if not matching:
            unknown.append(wanted)
    return frozenset(found), unknown


def complete(plan: Plan, runs: Collection[str], completed: Collection[str] = ()) -> Selection:
    """Adds the runs without which these are not what they are: those that overlap them, and their hooks.

    And the self-tests of their hosts, where they have not ``completed``.
    """
    together: dict[str, set[str]] = {}
    for run in plan.runs:
        for after in run.after:
            if after.type in _OVERLAPS:
                together.setdefault(run.id, set()).add(after.run)
                together.setdefault(after.run, set()).add(run.id)
            elif after.type == PRE:
                together.setdefault(run.id, set()).add(after.run)
            elif after.type == POST:
                together.setdefault(after.run, set()).add(run.id)
    chosen = set(runs)
    pending = list(runs)
    while pending:
        for other in together.get(pending.pop(), ()):
            if other not in chosen:
                chosen.add(other)
                pending.append(other)
    used = {name for run in plan.runs if run.id in chosen for name in run.hosts}
    chosen |= {run for host, run in plan.selftest.items() if host in used and run not in completed}
    joined = tuple(run.id for run in plan.runs if run.id in chosen and run.id not in runs)
    return Selection(frozenset(chosen), joined)


def unmet(plan: Plan, runs: Set[str], completed: Set[str]) -> Iterator[tuple[str, str]]:
    """Yields each of these runs that starts after another which neither is among them nor has completed."""
    for run in plan.runs:
        if run.id in runs:
            for after in run.after:
                if after.type in ("start_post_comp", PRE) and after.run not in runs | completed:
                    yield run.id, after.run


def part(plan: Plan, runs: Collection[str]) -> Plan:
    """Returns the plan with these runs alone, in the same order, on the hosts that they use."""
    kept = tuple(run for run in plan.runs if run.id in runs)
    used = {name for run in kept for name in run.hosts}
    return replace(
        plan,
        runs=kept,
        steps=tuple(step for step in plan.steps if step.run in runs),
        hosts={name: host for name, host in plan.hosts.items() if name in used},
        selftest={host: run for host, run in plan.selftest.items() if run in runs},
    )
