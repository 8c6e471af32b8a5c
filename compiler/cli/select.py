"""``--only ID``: which runs of a plan are executed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compiler.plan.model import Plan

_SHOWN = 8


def only(
    args: argparse.Namespace, plan: Plan, completed: frozenset[str] = frozenset()
) -> frozenset[str] | None:
    """Returns the runs that ``--only`` names, and those that overlap them.

    None, and the reason told, where an id is unknown, or one of them starts after a run that neither is among
    them nor has ``completed``.
    """
    from compiler.plan.selection import named, unmet

    chosen, unknown = named(plan, args.only)
    if unknown:
        ids = list(dict.fromkeys(run.entry for run in plan.runs))
        more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
        known = ", ".join(ids[:_SHOWN]) + more
        _tell(f"--only {unknown[0]}: no entry or run has that id; the entries are {known}")
        return None
    chosen = with_others(plan, chosen, completed)
    missing = list(unmet(plan, chosen, completed))
    for run, needed in missing[:_SHOWN]:
        entry = next((one.entry for one in plan.runs if one.id == needed), needed)
        _tell(f"{run} starts after {needed}, which has not passed here: add --only {entry}")
    return None if missing else chosen


def with_others(plan: Plan, chosen: frozenset[str], completed: Collection[str] = ()) -> frozenset[str]:
    """Returns these runs with those that overlap them and their hooks, and says which those are."""
    from compiler.plan.selection import complete

    selection = complete(plan, chosen, completed)
    if selection.joined:
        print(f"also {', '.join(selection.joined)}: what is asked for needs them", file=sys.stderr)
    return selection.runs


def _tell(text: str) -> None:
    print(f"deepep-compiler run: error: {text}", file=sys.stderr)
