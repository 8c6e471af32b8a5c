"""What is worth keeping of a run that hangs, before it is ended: last lines of each rank, GPUs, adapters."""

from __future__ import annotations

import re
import shutil
from collections import deque
from pathlib import Path

from .asked import Asked
from .files import now_iso

LINES = 10
"""Last lines that are kept of each rank."""

TAIL_BYTES = 1024 * 1024
"""So much of the end of each log is looked through."""

TOOLS = {"nvidia-smi.txt": ["nvidia-smi", "-q"], "ibstat.txt": ["ibstat"]}

_RANK = re.compile(rb"^\[(?:rank|default)\s*(\d+)\]")


def write(logs: Path) -> None:
    """Writes last-lines.txt: of each rank, and of lines without one, the last few with their stream."""
    of_rank: dict[int, deque[bytes]] = {}
    for kind in ("stdout", "stderr"):
        for line in _tail(logs / f"{kind}.txt"):
            match = _RANK.match(line)
            rank = int(match.group(1)) if match else -1
            of_rank.setdefault(rank, deque(maxlen=LINES)).append(kind.encode() + b": " + line)
    with (logs / "last-lines.txt").open("wb") as out:
        out.write(f"# {now_iso()} last lines of each rank before it was ended\n".encode())
        for rank in sorted(of_rank):
            out.write(f"\n## {f'rank {rank}' if rank >= 0 else 'no rank named'}\n".encode())
            out.writelines(line + b"\n" for line in of_rank[rank])


def _tail(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - TAIL_BYTES))
            return stream.read().splitlines()
    except OSError:
        return []


def ask_devices(logs: Path) -> Asked:
    """Has the host's tools write what they say of GPUs and adapters; each to a file below ``logs``."""
    asked = Asked()
    for name, argv in TOOLS.items():
        tool = shutil.which(argv[0])
        if tool is not None:
            with (logs / name).open("wb") as out:
                asked.ask(name, [tool, *argv[1:]], out)
    return asked


def await_devices(asked: Asked, logs: Path, end: float) -> None:
    """Waits for the tools until the monotonic time ``end``; says in a file where one had not finished."""
    for name in asked.wait(end):
        with (logs / name).open("ab") as out:
            out.write(f"\n({' '.join(TOOLS[name])} took too long)\n".encode())
