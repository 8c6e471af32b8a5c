"""Arguments that another argument switches off."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic
from compiler.diagnostics.wording import value_text
from compiler.scenario.model import Case, Entry

ONLY_WITH = (
    ("allow_nvlink_for_low_latency", "mode", "low_latency"),
    ("round_scale", "data_type", "fp8"),
    ("use_ue8m0", "data_type", "fp8"),
    ("num_groups", "routing", "group_limited"),
    ("num_topk_groups", "routing", "group_limited"),
    ("imbalance", "routing", "unbalanced"),
    ("routing_trace", "routing", "trace"),
    ("use_logfmt", "mode", "low_latency"),
    ("enable_tuning", "mode", "standard"),
    ("dispatch_chunks", "mode", "standard"),
    ("combine_chunks", "mode", "standard"),
)
"""(switch, argument, value): the switch has an effect only where the argument has that value."""


def without_effect(entry: Entry, case: Case) -> Iterator[Diagnostic]:
    """Reports switches that are on but control nothing."""
    for switch, argument, value in ONLY_WITH:
        if getattr(case.arguments, switch) and getattr(case.arguments, argument) != value:
            if argument_varies(case, argument):
                continue
            yield finding(
                "argument-no-effect",
                f"{switch} = {value_text(getattr(case.arguments, switch))} has an effect only with "
                f"{argument} = {value_text(value)}",
                entry.origin.argument(case, switch),
                fix=f"remove {switch}, or write {argument} = {value_text(value)}",
            )


def argument_varies(case: Case, argument: str) -> bool:
    """Tells whether the argument is swept: some points then make use of the switch."""
    return f"cmd_args.{argument}" in case.sweep
