"""Routing arguments that must fit together."""

from __future__ import annotations

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
