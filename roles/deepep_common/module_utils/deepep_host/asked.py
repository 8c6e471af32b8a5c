"""Programs that are asked about a run before it is ended: all at once, and none beyond a common end.

On a sick GPU or a process stuck in the kernel a tool may hang where no signal reaches it. Each writes to a
file and is left behind when the time is over.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from time import monotonic
from typing import IO

EVIDENCE_S = 5.0
"""How long all that is asked before a run is ended may take together: a kill is never delayed longer."""

ASKED, TAKEN = "evidence.asked", "evidence.taken"
"""Files of a run's directory: the bundled program asks for a look around before it ends itself, and hears
that it is done (deepep_bench/witness.py)."""

ASKED_S = 2.0
"""How long that look may take: it is a part of the 15 s in which all hosts end."""


class Asked:
    """What was asked, by a name each."""

    def __init__(self) -> None:
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def ask(self, name: str, argv: Sequence[str], out: IO[bytes]) -> None:
        """Starts a program whose output goes to ``out``, or says there why it cannot be started."""
        try:
            process = subprocess.Popen(  # noqa: S603 - a fixed argv
                list(argv), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )
        except OSError as error:
            out.write(f"({argv[0]} cannot be started: {error.strerror})\n".encode())
            out.flush()
            return
        self._running.append((name, process))

    def wait(self, end: float) -> list[str]:
        """Waits for all, until the monotonic time ``end``; returns the names of those that had no answer."""
        late = []
        for name, process in self._running:
            try:
                process.wait(max(0.0, end - monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                late.append(name)
        return late
