"""Before ranks end a hang or the loss of another: each shows where it stands, and the supervisor may look.

Whoever holds the run on this host finds ``ASKED`` in its directory, looks around (stacks of all processes,
GPUs, adapters) and says so with ``TAKEN``. Standard library only: sentinels ask, too.
"""

from __future__ import annotations

import faulthandler
import os
import time
from pathlib import Path

ASKED = "evidence.asked"
TAKEN = "evidence.taken"

LOOK_S = 2.5
"""How long ranks wait for the supervisor at most: all must be gone within 15 s, silence took most."""


def show(folder: Path, rank: int) -> None:
    """Writes where all threads of this rank stand, and waits until the supervisor has looked."""
    try:
        path = folder / "logs" / f"stacks-rank-{rank:04d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as out:
            faulthandler.dump_traceback(out, all_threads=True)
    except OSError:
        pass  # a full disk: the end says enough
    if not ask(folder):
        return
    end = time.monotonic() + LOOK_S
    while not (folder / TAKEN).exists() and time.monotonic() < end:
        time.sleep(0.05)


def ask(folder: Path) -> bool:
    """Has the supervisor look around; returns whether there is one."""
    if "DEEPEP_RUN_ID" not in os.environ:
        return False
    try:
        (folder / ASKED).touch()
    except OSError:
        return False
    return True
