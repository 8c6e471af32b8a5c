"""However processes behave while they are ended, none is left when that is said."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from compiler.resources import host_code

host_code()

from deepep_host import processes  # noqa: E402

DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
FORGETFUL = "signal.signal(signal.SIGTERM, lambda *_: os.execve('/bin/sleep', ['sleep', '600'], {}))"
"""Runs something else on SIGTERM, with nothing of its environment."""


class Program:
    """A child that is told apart by its environment."""

    def __init__(self, on_term: str) -> None:
        self.marks = {"DEEPEP_TEST": secrets.token_hex(8)}
        code = f"import os, signal, time; {on_term}; print('ready', flush=True); time.sleep(600)"
        self.child = subprocess.Popen(
            [sys.executable, "-c", code], env={**os.environ, **self.marks}, stdout=subprocess.PIPE
        )
        assert self.child.stdout is not None
        assert self.child.stdout.readline() == b"ready\n"
        self.identity = processes.identify(self.child.pid)

    def find(self) -> list[int]:
        return processes.with_environment(self.marks)


@pytest.fixture
def start() -> Iterator[Callable[[str], Program]]:
    """Starts programs that do this on SIGTERM."""
    started: list[Program] = []

    def start(on_term: str) -> Program:
        started.append(Program(on_term))
        return started[-1]

    yield start
    for one in started:
        one.child.kill()
        one.child.wait()


def test_a_process_that_was_found_is_ended_whatever_it_has_become(start: Callable[[str], Program]) -> None:
    program = start(FORGETFUL)
    assert processes.end_all(program.find, 0.5) == []
    assert not processes.is_alive(program.identity)


def test_one_look_that_finds_nobody_is_not_enough(start: Callable[[str], Program]) -> None:
    parent, child = start("pass"), start(DEAF)
    looks = count()

    def find() -> list[int]:
        if processes.is_alive(parent.identity):
            return [parent.child.pid]
        # The parent ends while the first look without it is between the two: it sees neither.
        return child.find() if next(looks) else []

    assert processes.end_all(find, 0.5) == []
    assert not processes.is_alive(child.identity)
