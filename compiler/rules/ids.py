"""Ids: they name the result directories of entries."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic
from compiler.diagnostics.wording import value_text
from compiler.rules.model import RawScenario

RESERVED = frozenset(
    {
        "summary.json", "summary.csv", "junit.xml", "run.json", "events.jsonl", "manifest.json", "plan.json",
        "earlier", "preflight",
    }
)  # fmt: skip
"""Files and folders at the root of a result tree; the scenario's HTML page is another."""


def unique(scenario: RawScenario) -> Iterator[Diagnostic]:
    """Ids differ, also without regard to case."""
    first: dict[str, tuple[str, int]] = {}
    for entry in scenario.entries:
        if entry.id is None:
            continue
        other = first.setdefault(entry.id.casefold(), (entry.id, entry.index))
        if other[1] == entry.index:
            continue
        same = "is" if other[0] == entry.id else f"differs only in case from {value_text(other[0])}, which is"
        yield finding(
            "duplicate-id",
            f"id {value_text(entry.id)} {same} already the id of entry {other[1] + 1}",
            entry.place("id"),
            fix=f"write another id, e.g. {value_text(f'{entry.id}-{entry.index + 1}')}",
        )


def not_reserved(scenario: RawScenario) -> Iterator[Diagnostic]:
    """No entry's directory takes the name of a file of the result tree."""
    taken = RESERVED | {f"{scenario.data.get('name')}.html".casefold()}
    for entry in scenario.entries:
        if entry.id is not None and entry.id.casefold() in taken:
            text = f"id {value_text(entry.id)} is the name of a file of the result tree"
            yield finding("reserved-id", text, entry.place("id"))
