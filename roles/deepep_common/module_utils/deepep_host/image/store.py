"""Image files on a host: their names, the notes beside them, the lock while one is made, and room for it.

A file under its own name is whole and checked: it gets that name by a rename, after its digests were right.
While it is made it is ``<name>.part``, which belongs to whoever holds ``<name>.lock``; a part that a killed
run left is checked piece by piece and completed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..files import open_lock, read_json, write_json
from .archive import Piece

STRETCH = 64 << 20
"""Bytes of one piece of a file whose parts have no digests of their own."""
SPARE = 64 << 20
"""Bytes that stay free beside an image."""

STALE_S = 3600.0
"""After this long without a change, a file on its way through the controller belongs to nobody."""


class NoRoom(Exception):
    """The disk is too small; the text has the figures."""


def directory(work_dir: Path, configured: str | None) -> Path:
    """Returns where image files lie on this host."""
    return Path(configured) if configured else work_dir / "images"


def partial(path: Path) -> Path:
    """Returns the name of a file while it is made."""
    return path.with_name(path.name + ".part")


def note_path(path: Path) -> Path:
    """Returns the note beside an image file."""
    return path.with_name(path.name + ".json")


def describe(path: Path) -> dict[str, Any] | None:
    """Returns the note of an image file if it still is the file that was checked, else None."""
    return recall(path, note_path(path))


def settle(path: Path, note: dict[str, Any]) -> None:
    """Gives a checked ``<name>.part`` its name, and writes the note that tells what was checked."""
    partial(path).replace(path)
    remember(path, note)


def remember(path: Path, note: dict[str, Any], where: Path | None = None) -> None:
    """Writes the note of a file that was checked, beside it or at ``where``."""
    write_json(where or note_path(path), {**note, "stamp": _stamp(path)}, mode=0o600)


def recall(path: Path, where: Path) -> dict[str, Any] | None:
    """Returns the note at ``where`` if it is of this file as it still is."""
    note = read_json(where)
    return note if note is not None and note.get("stamp") == _stamp(path) else None


def foreign_note(folder: Path, path: Path) -> Path:
    """Returns where the note of a user's own file lies: not beside it."""
    return folder / f"local-{hashlib.sha256(str(path).encode()).hexdigest()[:16]}.json"


def squashfs_problem(path: Path) -> str | None:
    """Returns why a file cannot be a whole squashfs image, None where nothing speaks against it."""
    with path.open("rb") as stream:
        head = stream.read(96)
    if len(head) < 96 or head[:4] != b"hsqs":
        return f"{path} is no squashfs file"
    used = int.from_bytes(head[40:48], "little")
    size = path.stat().st_size
    if size < used:
        return f"{path} is not whole: {size} of {used} bytes"
    return None


def notes(folder: Path, reference: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yields the checked files that came from ``reference``, newest first."""
    found = []
    for path in folder.glob("*.json") if folder.is_dir() else ():
        note = describe(path.with_name(path.name[: -len(".json")]))
        if note is not None and note.get("reference") == reference:
            found.append((path.stat().st_mtime, path.with_name(path.name[: -len(".json")]), note))
    for _, path, note in sorted(found, key=lambda item: item[0], reverse=True):
        yield path, note


def remove(path: Path) -> None:
    """Removes an image file and its note."""
    for each in (note_path(path), path):
        if each.exists():
            each.unlink()


class Claim:
    """A hold on ``path`` until the process ends: alone while it is made, then shared with other users."""

    def __init__(self, path: Path) -> None:
        self._lock = _lock_of(path)
        self._handle = open_lock(self._lock)

    def take(self, fits: Callable[[], bool], waiting: Callable[[], None], timeout_s: float) -> bool:
        """Returns False, shared, once ``fits`` says that the file is there; True where it is to be made here.

        Whoever makes or uses another file of that name is waited for. Raises TimeoutError.
        """
        end = time.monotonic() + timeout_s
        while True:
            if _try(self._handle, fcntl.LOCK_SH):
                if not self._is_current():
                    self._reopen()
                    continue
                if fits():
                    return False
                if _try(self._handle, fcntl.LOCK_EX) and self._is_current():
                    return True
                fcntl.flock(self._handle, fcntl.LOCK_UN)
            waiting()
            if time.monotonic() > end:
                raise TimeoutError(f"another session has been making {self._lock.stem} for {timeout_s:.0f} s")
            time.sleep(0.2)

    def share(self) -> None:
        """Lets others use what was made."""
        fcntl.flock(self._handle, fcntl.LOCK_SH)

    def close(self) -> None:
        """Gives it up."""
        os.close(self._handle)

    def _is_current(self) -> bool:
        # Whoever removed the file while it was waited for has left a lock that nobody else can see.
        mine = os.fstat(self._handle)
        try:
            now = self._lock.stat()
        except FileNotFoundError:
            return False
        return (now.st_ino, now.st_dev) == (mine.st_ino, mine.st_dev)

    def _reopen(self) -> None:
        os.close(self._handle)
        self._handle = open_lock(self._lock)


def is_free(path: Path) -> bool:
    """Returns whether nobody makes or uses ``path`` now; another user's file never is."""
    try:
        handle = os.open(_lock_of(path), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    try:
        return _try(handle, fcntl.LOCK_EX)
    finally:
        os.close(handle)


def sweep(folder: Path, dry: bool = False, shared: bool = False) -> list[str]:
    """Removes parts and scratch that no process works on; returns their paths. Whole images stay.

    ``shared``: the folder was chosen by the user and may hold anything; only what has a lock of ours beside
    it is touched.
    """
    removed: list[Path] = []
    for part in sorted(folder.glob("*.part")):
        path = part.with_name(part.name[: -len(".part")])
        if is_free(path) and (_lock_of(path).exists() or not shared):
            removed += _gone(part, dry)
    for layers in sorted(folder.glob(".*.part.enroot")):
        path = layers.with_name(layers.name[1 : -len(".part.enroot")])
        if is_free(path) and (_lock_of(path).exists() or not shared):
            removed += _gone(layers, dry)
    for brought in sorted(folder.glob("*.relay")) if not shared else ():
        if time.time() - brought.stat().st_mtime > STALE_S:
            removed += _gone(brought, dry)
    touched = {path.name.lstrip(".").partition(".part")[0] for path in removed}
    for lock in sorted(folder.glob("*.lock")):
        path = lock.with_name(lock.name[: -len(".lock")])
        if is_free(path) and not path.exists() and (path.name in touched or not shared):
            _gone(lock, dry)
    return [str(path) for path in removed]


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _gone(path: Path, dry: bool) -> list[Path]:
    """Removes a file or directory; returns it, or nothing where another user's rights forbid it."""
    if not dry:
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:
            return []
    return [path]


def free(folder: Path) -> tuple[int, int]:
    """Returns the free bytes of the file system that ``folder`` is or will be on, and that one's id."""
    while not folder.is_dir():
        folder = folder.parent
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize, folder.stat().st_dev


def check_room(wanted: list[tuple[Path, int, str]]) -> None:
    """Raises NoRoom where the file systems of these folders lack the bytes asked for together."""
    needs: dict[int, list[tuple[Path, int, str]]] = {}
    for folder, size, what in wanted:
        needs.setdefault(free(folder)[1], []).append((folder, size, what))
    for entries in needs.values():
        there = free(entries[0][0])[0]
        total = sum(size for _, size, _ in entries) + SPARE
        if there < total:
            uses = " and ".join(
                f"{size / 1e9:.2f} GB for {what} in {folder}" for folder, size, what in entries
            )
            raise NoRoom(
                f"the disk has {there / 1e9:.2f} GB free and needs {total / 1e9:.2f} GB: {uses}; make "
                f"room, or "
                "set deepep_image_cache_dir or deepep_work_dir to another disk"
            )


def measure(path: Path, told: Callable[[int], None]) -> tuple[str, list[Piece]]:
    """Returns the SHA-256 of a file and its pieces, reading it once; ``told`` gets the bytes read so far."""
    whole = hashlib.sha256()
    pieces: list[Piece] = []
    done = 0
    with path.open("rb", buffering=0) as stream:
        while True:
            part = hashlib.sha256()
            size = 0
            while size < STRETCH:
                data = stream.read(min(1 << 20, STRETCH - size))
                if not data:
                    break
                whole.update(data)
                part.update(data)
                size += len(data)
                told(done + size)
            if size:
                pieces.append(Piece(size, part.hexdigest()))
                done += size
            if size < STRETCH:
                return whole.hexdigest(), pieces


def _stamp(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _try(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
