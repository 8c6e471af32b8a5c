"""A token chooses different experts, so there must be as many."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic
from compiler.scenario.model import Case, Entry


def at_most_experts(entry: Entry, case: Case) -> Iterator[Diagnostic]:
    """num_topk <= num_experts."""
    topk, experts = case.arguments.num_topk, case.arguments.num_experts
    if topk > experts:
        swept = "cmd_args.num_experts" in case.sweep and "cmd_args.num_topk" not in case.sweep
        names = ("num_experts", "num_topk") if swept else ("num_topk", "num_experts")
        yield finding(
            "topk-exceeds-experts",
            f"num_topk = {topk} is larger than num_experts = {experts}",
            entry.origin.argument(case, *names),
            fix=f"use at most {experts} for num_topk, or at least {topk} for num_experts",
        )
