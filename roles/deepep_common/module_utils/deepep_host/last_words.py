"""What is worth keeping of a run that hangs, before it is ended: last lines of each rank, GPUs, adapters."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections import deque
from pathlib import Path

from .files import now_iso

LINES = 10
"""Last lines that are kept of each rank."""

TAIL_BYTES = 1024 * 1024
"""So much of the end of each log is looked through."""

TOOLS = {"nvidia-smi.txt": ["nvidia-smi", "-q"], "ibstat.txt": ["ibstat"]}
TIMEOUT_S = 10.0

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


def ask_devices(logs: Path) -> None:
    """Writes what the host's tools say of GPUs and adapters; all at once, for ``TIMEOUT_S`` at most.

    A tool that does not answer is left behind: on a sick GPU it may hang in the kernel.
    """
    asked = []
    for name, argv in TOOLS.items():
        tool = shutil.which(argv[0])
        if tool is None:
            continue
        with (logs / name).open("wb") as out:
            asked.append(
                (
                    name,
                    subprocess.Popen(  # noqa: S603 - a fixed argv
                        [tool, *argv[1:]], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
                    ),
                )
            )
    end = time.monotonic() + TIMEOUT_S
    for name, process in asked:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            with (logs / name).open("ab") as out:
                out.write(f"\n({process.args} did not answer within {TIMEOUT_S:.0f} s)\n".encode())
