"""Files that other processes read while they are written: always replaced as a whole, never half there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SAFE_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")


def now_iso() -> str:
    """Returns the wall clock as ISO 8601 in UTC with milliseconds."""
    return iso_time(time.time())


def iso_time(seconds: float) -> str:
    """Returns a time since the epoch as ISO 8601 in UTC with milliseconds."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{milliseconds:03d}Z"


def write_bytes(path: str | Path, data: bytes, mode: int = 0o644) -> None:
    """Replaces ``path`` by ``data`` atomically. Creates the directories above it."""
    folder = Path(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".new-")
    fresh = Path(temporary)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        fresh.chmod(mode)
        fresh.replace(path)
    except BaseException:
        if fresh.exists():
            fresh.unlink()
        raise


def write_text(path: str | Path, text: str, mode: int = 0o644) -> None:
    """Replaces ``path`` by ``text`` as UTF-8 atomically; lone surrogates become ``?``."""
    write_bytes(path, text.encode("utf-8", "replace"), mode)


def write_json(path: str | Path, value: Any, mode: int = 0o644) -> None:
    """Replaces ``path`` by ``value`` as indented JSON atomically."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=False) + "\n").encode("ascii"), mode)


def read_json(path: str | Path) -> dict[str, Any] | None:
    """Returns the JSON object in ``path``, or None where there is none that can be read."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def safe_relative(name: str) -> str:
    """Returns ``name``, a relative path of plain components, unchanged.

    Raises ValueError for anything that could leave the directory it is joined to.
    """
    parts = name.split("/")
    if not name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{name!r} is not a plain relative path")
    return name


def run_path(base: Path, run: str) -> Path:
    """Returns the directory of run ``run`` (``Tests.1/0``) below ``base``; ValueError for other ids."""
    for part in safe_relative(run).split("/"):
        if not SAFE_NAME.match(part):
            raise ValueError(f"{run!r} is not the id of a run")
    return base.joinpath(*run.split("/"))


def host_name(name: str) -> str:
    """Returns the host name unchanged; ValueError where it cannot be the name of a file."""
    if not SAFE_NAME.match(name):
        raise ValueError(f"{name!r} cannot name a host: letters, digits, '.', '_' and '-' only")
    return name


def below(folder: Path) -> Iterator[Path]:
    """Yields files and directories below a folder, in no order; what goes meanwhile is left out.

    ``Path.rglob`` raises where a directory goes while it looks.
    """
    for top, folders, names in os.walk(folder):
        for name in (*folders, *names):
            yield Path(top, name)


def file_sha256(path: str | Path) -> str:
    """Returns a file's SHA-256 in hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - Path costs more than the reading
        while True:
            piece = file.read(1 << 20)
            if not piece:
                return digest.hexdigest()
            digest.update(piece)


def open_lock(path: Path) -> int:
    """Opens a lock file, made together with its folder where they are not there; returns its descriptor.

    Another session's cleanup may find the folder empty, and remove it, between the two.
    """
    while True:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
