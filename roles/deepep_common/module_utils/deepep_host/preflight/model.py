"""What a check is, and what it can say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .machine import Machine, Wanted

PASS, WARN, FAIL, UNKNOWN = "pass", "warn", "fail", "unknown"
"""``unknown``: this host cannot tell, and the text says why. It is never counted as passed."""

_ORDER = (FAIL, WARN, PASS)


class Outcome(NamedTuple):
    """What one check found on one host. ``remedy`` is empty where the check's own says it all."""

    result: str
    text: str
    remedy: str = ""


class Check(NamedTuple):
    """One question to a host.

    ``needs``: what runs must need for it to matter (:mod:`.needs`); a run without any of these starts
    although the check failed. ``soft``: needs for which a failure is only a warning.
    """

    name: str
    item: str
    needs: tuple[str, ...]
    soft: tuple[str, ...]
    what: str
    remedy: str
    source: str
    ask: Callable[[Machine, Wanted], Outcome]


def ok(text: str) -> Outcome:
    """The host has what is wanted."""
    return Outcome(PASS, text)


def warn(text: str, remedy: str = "") -> Outcome:
    """Runs are possible; their figures may suffer."""
    return Outcome(WARN, text, remedy)


def fail(text: str, remedy: str = "") -> Outcome:
    """Runs that need this must not start."""
    return Outcome(FAIL, text, remedy)


def unknown(why: str, remedy: str = "") -> Outcome:
    """This host cannot tell."""
    return Outcome(UNKNOWN, f"not checked: {why}", remedy)


def entry(
    name: str,
    result: str,
    text: str,
    remedy: str = "",
    item: str = "P01",
    needs: Iterable[str] = ("host",),
    runs: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Returns one line of a preflight as its JSON has it. ``runs``: the only runs that it concerns."""
    line: dict[str, Any] = {"name": name, "item": item, "result": result, "text": text, "remedy": remedy,
                            "needs": list(needs)}  # fmt: skip
    return line if runs is None else {**line, "runs": list(runs)}


def worst(checks: Iterable[dict[str, Any]]) -> str:
    """Returns the worst of all results; what could not be checked makes nothing better or worse."""
    results = {line["result"] for line in checks}
    return next((result for result in _ORDER if result in results), PASS)
