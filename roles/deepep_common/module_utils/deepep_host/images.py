"""What images a session has on a host: ``images.json`` in its directory there, by the plan's references."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .files import read_json, write_json


def path(base: Path) -> Path:
    """Returns the file of a session's directory on a host."""
    return base / "images.json"


def read(base: Path) -> dict[str, dict[str, Any]]:
    """Returns reference -> ``{"runtime", "id", "digest", "file"}``; {} before anything was staged.

    ``id`` is what the runtime starts: an image's id for docker and podman, the path of the squashfs file for
    enroot. ``file``: where the image also lies as a file, None where it does not.
    """
    return dict(read_json(path(base)) or {})


def find(base: Path, reference: str) -> dict[str, Any] | None:
    """Returns the entry of one reference, None where it is not staged here."""
    return read(base).get(reference)


def put(base: Path, reference: str, entry: Mapping[str, Any]) -> None:
    """Adds an image that is ready to be started."""
    write_json(path(base), {**read(base), reference: dict(entry)})
