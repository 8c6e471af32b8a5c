"""Slurm's commands, called with patience: a controller that is away for a minute is no failure of a run."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from typing import NamedTuple

TIMEOUT_S = 60.0
"""How long one command may take; Slurm's own MessageTimeout is 10 s, with repetitions."""

PAUSE_S = 5.0

_AWAY = (
    "unable to contact slurm controller",
    "socket timed out",
    "connection refused",
    "connection timed out",
    "connection reset",
    "communication connection failure",
    "zero bytes were transmitted",
    "slurm backup controller in standby mode",
    "slurmctld is not responding",
    "unexpected message received",
    "problem talking to the database",
    "resource temporarily unavailable",
    "slurm temporarily unable to accept job",
    "transport endpoint is not connected",
    "no route to host",
    "network is unreachable",
)
"""What Slurm's commands say when their controller (or database) is away; the request may be repeated."""


class SlurmError(Exception):
    """A command of Slurm's did not do what was asked; the text is its own."""


class SlurmAway(SlurmError):
    """Slurm's controller did not answer for as long as there was patience."""


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def away(self) -> bool:
        """Whether it failed because the controller was not there."""
        text = self.err.lower()
        return self.code != 0 and any(sign in text for sign in _AWAY)

    @property
    def message(self) -> str:
        """The command's own words in one line."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        return "; ".join(lines) or f"ended with {self.code} without a word"


def call(argv: Sequence[str], given: bytes | None = None, timeout_s: float = TIMEOUT_S) -> Done:
    """Runs one command once. Raises SlurmError where it does not exist."""
    environment = {**os.environ, "LC_ALL": "C", "SLURM_TIME_FORMAT": "standard"}
    try:
        done = subprocess.run(  # noqa: S603 - Slurm's commands, no shell
            list(argv),
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            timeout=timeout_s,
            env=environment,
            check=False,
        )
    except FileNotFoundError as error:
        raise SlurmError(
            f"{argv[0]} is not installed on the login host (PATH: {os.environ.get('PATH')})"
        ) from error
    except subprocess.TimeoutExpired:
        return Done(1, "", f"{argv[0]}: Socket timed out: no answer in {timeout_s:.0f} s")
    return Done(
        done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    )


def ask(argv: Sequence[str], patience_s: float) -> str:
    """Returns what a query prints, repeating it while the controller is away.

    Raises SlurmAway after ``patience_s``, SlurmError for any other failure.
    """
    end = time.monotonic() + patience_s
    while True:
        done = call(argv)
        if done.code == 0:
            return done.out
        if not done.away:
            raise SlurmError(f"{argv[0]}: {done.message}")
        if time.monotonic() >= end:
            raise SlurmAway(f"{argv[0]}: {done.message}")
        time.sleep(min(PAUSE_S, max(0.1, end - time.monotonic())))
