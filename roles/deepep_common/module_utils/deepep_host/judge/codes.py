"""Every reason that can stand behind a verdict, and which verdict it leads to."""

from __future__ import annotations

import re
from typing import NamedTuple, TypedDict

PASS = "PASS"  # noqa: S105 - a verdict, not a secret
UNVERIFIED = "UNVERIFIED"
INVALID = "INVALID"
FAIL = "FAIL"
TIMEOUT = "TIMEOUT"
NOT_RUN = "NOT_RUN"

VERDICTS = (PASS, FAIL, TIMEOUT, INVALID, UNVERIFIED, NOT_RUN)
"""In the order in which counts are shown."""

COMPLETED = (PASS, UNVERIFIED)
"""Verdicts after which a dependent run may start."""


_ESCAPE = re.compile("\x1b\\[[0-9;?]*[A-Za-z]")


class Code(NamedTuple):
    """What a reason's code leads to, and what it says of the run in general."""

    verdict: str
    title: str


CODES = {
    # Nothing was started.
    "not-started": Code(NOT_RUN, "no host started the run"),
    "dependency-not-passed": Code(NOT_RUN, "a run that this one needs did not pass"),
    "session-interrupted": Code(NOT_RUN, "the session ended before the run's turn"),
    # How it ended on the hosts.
    "time-limit": Code(TIMEOUT, "the run was stopped at its time limit"),
    "host-lost": Code(FAIL, "a host's processes disappeared without an end"),
    "start-failed": Code(FAIL, "the program could not be started on a host"),
    "stopped": Code(FAIL, "the run was stopped before it ended"),
    "stopped-too-early": Code(FAIL, "the run was to accompany another, which ended before this one worked"),
    "stood-still": Code(FAIL, "a process of the run was stopped by a signal on a host"),
    "exit-code": Code(FAIL, "the program ended with an error on a host"),
    "still-running": Code(FAIL, "the run had not ended on a host when it was collected"),
    "not-collected": Code(FAIL, "a host's files could not be fetched, or not all of them"),
    "state-missing": Code(FAIL, "a host left no record of how the run ended"),
    "state-unreadable": Code(FAIL, "a host's record of how the run ended cannot be read"),
    "slurm-state": Code(FAIL, "Slurm does not say that the run's job completed"),
    "slurm-job-missing": Code(FAIL, "nothing is known of the run's job in Slurm"),
    "leftovers": Code(FAIL, "processes were left running on a host"),
    # What it wrote.
    "error-in-log": Code(FAIL, "a log shows an error"),
    "log-missing": Code(FAIL, "a host's log is missing"),
    "marker-missing": Code(FAIL, "a host's end marker is missing"),
    "marker-wrong": Code(FAIL, "a host's end marker does not say what the plan expects"),
    "rank-missing": Code(FAIL, "a rank's record is missing"),
    "rank-wrong": Code(FAIL, "a rank's record is unreadable or of another rank"),
    "results-missing": Code(FAIL, "there is no results.json"),
    "results-ambiguous": Code(FAIL, "there is more than one result directory"),
    "results-unreadable": Code(FAIL, "results.json cannot be read"),
    "operation-missing": Code(FAIL, "results.json lacks an operation that the plan expects"),
    "record-incomplete": Code(FAIL, "a record in results.json lacks a value, or it has the wrong type"),
    "world-size": Code(FAIL, "the run had another number of ranks than planned"),
    "wrong-data": Code(FAIL, "the data that arrived were not the data that were sent"),
    "correctness-missing": Code(FAIL, "a record does not say that the data were checked before and after"),
    "file-missing": Code(FAIL, "a file that every run leaves behind is missing or empty"),
    "trace-missing": Code(FAIL, "a profiler trace is missing"),
    "judge-error": Code(FAIL, "the run could not be judged"),
    "reference-missed": Code(FAIL, "a figure is worse than its reference value allows"),
    # It ran and was right, but the figures are not of what was planned, or cannot be true.
    "config-differs": Code(INVALID, "the run measured something else than was planned"),
    "figure-impossible": Code(INVALID, "a figure is no positive finite number, or contradicts another"),
    "not-a-measurement": Code(INVALID, "the program was told to fail on purpose"),
    "link-limit": Code(INVALID, "a measured rate is above what the link can carry"),
    "link-unused": Code(INVALID, "a link that should have carried the tokens did not"),
    "image-differs": Code(INVALID, "the hosts ran different images"),
    # It cannot be known.
    "reference-absent": Code(UNVERIFIED, "the scenario asks for reference values, and none is of this run"),
    "program-unverified": Code(UNVERIFIED, "nothing proves that the data were right"),
}


class Reason(TypedDict):
    """One reason behind a verdict. ``file`` is relative to the run directory, ``line`` counts from 1."""

    code: str
    text: str
    file: str | None
    line: int | None
    host: str | None
    at: str | None
    consequence: bool
    remedy: str | None


def reason(
    code: str,
    text: str,
    file: str | None = None,
    line: int | None = None,
    host: str | None = None,
    at: str | None = None,
    consequence: bool = False,
    remedy: str | None = None,
) -> Reason:
    """Returns one reason. Raises KeyError for a code that :data:`CODES` lacks."""
    if code not in CODES:
        raise KeyError(code)
    return {
        "code": code,
        "text": printable(text),
        "file": file,
        "line": line,
        "host": host,
        "at": at,
        "consequence": consequence,
        "remedy": remedy,
    }


def printable(text: str, limit: int = 500) -> str:
    """Returns ``text`` as one line without control characters (logs hold escapes), cut at a limit."""
    line = "".join(c if c.isprintable() else " " for c in _ESCAPE.sub("", text)).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def verdict_of(reasons: list[Reason]) -> str:
    """Returns the verdict that follows from the reasons, of which the first one is the cause."""
    verdicts = [CODES[r["code"]].verdict for r in reasons]
    if not verdicts:
        return PASS
    if verdicts[0] in (TIMEOUT, NOT_RUN):
        return verdicts[0]
    for verdict in (FAIL, TIMEOUT, NOT_RUN, INVALID):
        if verdict in verdicts:
            return FAIL if verdict == NOT_RUN else verdict
    return UNVERIFIED
