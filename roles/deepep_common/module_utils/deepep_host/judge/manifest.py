"""SHA-256 of every file of a tree."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..files import file_sha256
from .evidence import list_files

MANIFEST = "manifest.json"


def build_manifest(top: Path, leave_out: Iterable[str] = ()) -> dict[str, Any]:
    """Returns the manifest of a tree: every file but itself, those in ``leave_out``, and the controller's
    own notes, whose folder begins with a dot. Raises OSError.
    """
    skipped = {MANIFEST, *leave_out}
    names = (name for name in sorted(list_files(top)) if name not in skipped and not name.startswith("."))
    files = {name: file_sha256(f"{top}/{name}") for name in names}
    return {"schema": 1, "files": files}
