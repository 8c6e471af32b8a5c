"""Messages of a rank on stderr."""

from __future__ import annotations

import os
import sys


def say(rank: int, text: str) -> None:
    """Each line prefixed with the rank, in one write, so that ranks do not mix within a line."""
    lines = "".join(f"[rank {rank}] {line}\n" for line in text.split("\n"))
    sys.stderr.flush()
    os.write(2, lines.encode("utf-8", "replace"))
