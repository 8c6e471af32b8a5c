"""Questions about paths that never end in an exception: names may be too long, hold a NUL, or loop."""

from __future__ import annotations

from pathlib import Path


def is_folder(path: Path) -> bool:
    """Tells whether a path is a directory."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def exists(path: Path) -> bool:
    """Tells whether there is something at a path."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
