"""Routing arguments that must fit together."""

from __future__ import annotations

import math
from collections.abc import Iterator

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic
from compiler.scenario.model import Case, Entry

# what the program takes where the test is silent; the schema says the same
_GROUPS, _TOPK_GROUPS = 8, 4


def possible(entry: Entry, case: Case) -> Iterator[Diagnostic]:
    """A trace is named; groups are equal, and those that a token may use have enough experts."""
    arguments = case.arguments
    if arguments.routing == "trace" and not arguments.routing_trace:
        yield finding(
            "routing-impossible",
            'routing = "trace" needs routing_trace, the file of a recorded routing',
            entry.origin.argument(case, "routing"),
        )
    if arguments.routing != "group_limited":
        return
    groups, kept = arguments.num_groups or _GROUPS, arguments.num_topk_groups or _TOPK_GROUPS
    text = None
    if arguments.num_experts % groups:
        text = f"num_experts = {arguments.num_experts} cannot be split into {groups} equal groups"
    elif kept > groups:
        text = f"num_topk_groups = {kept} is larger than num_groups = {groups}"
    elif arguments.num_topk > kept * (arguments.num_experts // groups):
        experts = kept * (arguments.num_experts // groups)
        text = f"num_topk = {arguments.num_topk}: the {kept} groups of a token have {experts} experts"
    if text:
        yield finding("routing-impossible", text, entry.origin.argument(case, "num_groups", "routing"))


def reachable(entry: Entry, case: Case, ranks: int) -> Iterator[Diagnostic]:
    """The first of the ranks can get that many times the others' tokens; the program refuses it otherwise."""
    arguments = case.arguments
    imbalance, experts = arguments.imbalance or 1, arguments.num_experts
    if arguments.routing != "unbalanced" or experts % ranks or arguments.num_topk > experts:
        return
    most = _most_imbalance(experts, arguments.num_topk, ranks)
    if imbalance > most:
        yield finding(
            "routing-impossible",
            f"imbalance = {imbalance:g} cannot be reached: with {experts // ranks} experts on each of "
            f"{ranks} ranks and num_topk = {arguments.num_topk} the first rank gets at most {most:.4g} times "
            "the tokens of the others' mean",
            entry.origin.argument(case, "imbalance"),
            fix=f"use at most {math.floor(most * 100) / 100:g}, a smaller num_topk, or more experts",
        )


def _most_imbalance(experts: int, topk: int, ranks: int) -> float:
    """Every token selects all it can on the first rank; the rest is spread over the others' experts."""
    local = experts // ranks
    elsewhere = topk - local
    if ranks == 1:
        return 1.0
    if elsewhere <= 0:
        return math.inf
    missed = math.comb(experts - 2 * local, elsewhere) / math.comb(experts - local, elsewhere)
    return 1 / (1 - missed)
