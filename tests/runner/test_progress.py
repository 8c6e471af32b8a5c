"""What is shown of a session's events, without and with a terminal."""

from __future__ import annotations

import io
import re

from compiler.runner.progress import Progress

DISPATCH = {"operation": "dispatch", "done": 3, "total": 5}
EVENTS = (
    {"event": "session", "status": "opened"},
    {"event": "task", "play": "Prepare the hosts", "task": "x"},
    {"event": "preflight", "host": "a", "result": "pass"},
    {"event": "preflight", "host": "b", "result": "fail"},
    {"event": "selftest", "failed": ["b"], "notes": [],
     "outliers": [{"host": "a", "operation": "dispatch", "is": "slower", "percent": 31.0}]},
    {"event": "stage", "host": "a", "problem": None},
    {"event": "image", "host": "a", "reference": "r:1", "phase": "decided", "digest": "sha256:1"},
    {"event": "image", "host": "a", "reference": "r:1", "phase": "pulling", "done": 4e6, "total": 9e6},
    {"event": "image", "host": "b", "reference": "r:1", "phase": "lost", "problem": "a is gone"},
    {"event": "image", "host": "b", "reference": "r:1", "phase": "ready"},
    {"event": "start", "run": "T/0", "host": "a"},
    {"event": "phase", "run": "T/0", "host": "a", "phase": "timing", "progress": DISPATCH},
    {"event": "phase", "run": "T/0", "host": "b", "phase": "timing", "progress": None},
    {"event": "ended", "run": "T/0", "host": "a", "outcome": "exited", "exit_code": 1, "cause": "it broke"},
    {"event": "verdict", "run": "T/0", "verdict": "FAIL"},
    {"event": "skip", "run": "U/0", "reason": "it starts after T/0"},
    {"event": "something new"},
)  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show(out: io.StringIO) -> str:
    progress = Progress(out, {"T/0": 600.0, "U/0": 600.0})
    for event in EVENTS:
        progress.event(event)
        progress.tick()
    progress.clear()
    return re.sub(r"\d+ of 600 s", "N of 600 s", out.getvalue())


def test_plain_lines_without_a_terminal() -> None:
    assert show(io.StringIO()).splitlines() == [
        "hosts examined",
        "b: preflight fail (preflight/b.json)",
        "self-test of every host: failed on b; a is 31.0 % slower in dispatch",
        "program staged",
        "image r:1: sha256:1",
        "b: image r:1: a is gone",
        "[1/2] T/0 start (N of 600 s)",
        "[1/2] T/0 timing (N of 600 s)",
        "[1/2] T/0 a: exited with 1: it broke",
        "[1/2] T/0 ended (N of 600 s)",
        "[1/2] T/0 FAIL",
        "[2/2] U/0 not started: it starts after T/0",
    ]


def test_one_changing_line_on_a_terminal() -> None:
    text = show(Terminal())
    assert "[1/2] T/0 timing dispatch 3/5 · N of 600 s · a: timing" in text
    assert "image r:1: a pulling, 4 of 9 MB" in text
    assert "image r:1: on 1 host ·" in text
    assert text.endswith("\r\x1b[K"), "the changing line is taken away at the end"
