"""Time limits: understood the same way by everybody, and given at all."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic
from compiler.diagnostics.wording import listing, plural, value_text
from compiler.rules import test_source
from compiler.rules.model import RawScenario
from compiler.scenario.time_limit import DEFAULT_S, Refused, clock, parse_time_limit


def understood(scenario: RawScenario) -> Iterator[Diagnostic]:
    """time_limit has exactly one reading."""
    for entry in scenario.entries:
        text = entry.data.get("time_limit")
        if not isinstance(text, str) or not text:
            continue
        parsed = parse_time_limit(text)
        if isinstance(parsed, Refused):
            slug = "ambiguous-time-limit" if parsed.readings else "bad-time-limit"
            message = f"time_limit = {value_text(text)}: {parsed.reason}"
            yield finding(slug, message, entry.place("time_limit"), fix=parsed.fix)


def given(scenario: RawScenario) -> Iterator[Diagnostic]:
    """Every entry has a time limit; one finding for all that have none."""
    without = [
        entry
        for entry in scenario.entries
        if "time_limit" not in entry.data and not test_source.foreign(scenario, entry)
    ]
    if without:
        who = listing((entry.label for entry in without), "and", limit=5)
        have = plural(len(without), "entry has", "entries have")
        yield finding(
            "missing-time-limit",
            f"{have} no time_limit ({who}): {clock(DEFAULT_S)} is used",
            without[0].place(),
            fix=f'add time_limit, e.g. time_limit = "{clock(1800)}"',
        )
