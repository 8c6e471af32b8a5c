"""Lines of launchers and of the bundled benchmark that say what other lines follow from. Data only."""

from __future__ import annotations

import re

CONSEQUENCE = re.compile(rb"consequence of rank (\d+) on host (\S+)")
"""What the bundled benchmark prints on a rank that ends because another one failed."""

BLAME = re.compile(rb"\] (?:consequence of )?rank (\d+) on host (\S+): ")
"""Lines in which a rank names the one that failed first: its own finding, or as its consequence."""

LAUNCHER_ERRORS = ("ChildFailedError", "SignalException")
"""With what torchrun ends when a rank failed or it is stopped: never a cause."""

STOP = re.compile(
    rb"Received \w+ death signal|Received signal \w+, stopping"
    rb"|got signal: (?:15|2)\b|forcefully exiting via 9"
)
"""What torchrun prints when told to stop, or when it loses patience with a rank: no cause follows it."""

EXIT_BARRIER = b"Error waiting on exit barrier"
"""What a torchrun agent logs, with a traceback, when the agent that holds the store ended a moment earlier.

Ranks have ended by then and the agent exits with 0; whether they ended well is judged elsewhere. Lines
with the same prefix belong to it.
"""
