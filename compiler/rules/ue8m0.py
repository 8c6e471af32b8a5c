"""UE8M0 scales hold an exponent only."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic
from compiler.scenario.model import Case, Entry


def needs_round_scale(entry: Entry, case: Case) -> Iterator[Diagnostic]:
    """use_ue8m0 needs round_scale, whatever is sent: DeepEP and the bundled program check it first."""
    arguments = case.arguments
    if arguments.use_ue8m0 and not arguments.round_scale:
        yield finding(
            "ue8m0-needs-round-scale",
            "use_ue8m0 = true needs round_scale = true",
            entry.origin.argument(case, "use_ue8m0"),
        )
