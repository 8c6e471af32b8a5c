"""What has arrived of a run from one host, on the controller: survives an interruption at any moment."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .files import read_json, safe_relative, write_json
from .pack import BadArchive, Piece, digest, pieces_by_part, read_part, total_bytes

_WORTH_A_SYNC = 1024 * 1024


class Busy(Exception):
    """Another process fetches the same."""


class Incoming:
    """Parts are put in place as they come; a journal says which have.

    Below ``folder``: ``index.json``, ``journal`` (a line per part), ``files/``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "files"
        self._journal = folder / "journal"
        self._index: dict[str, Any] = {"part_bytes": 1, "files": []}
        self._pieces: list[list[Piece]] = []

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds this place against other processes. Raises Busy."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = self.folder.with_name(self.folder.name + ".lock")
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise Busy("another process is fetching the same files just now") from error
            yield
        finally:
            os.close(handle)

    def open(self, index: dict[str, Any]) -> None:
        """Begins with an index, or goes on with it. Raises BadArchive for paths that would lead out."""
        check_index(index)
        before = read_json(self.folder / "index.json")
        if before is None or before.get("id") != index["id"]:
            self.drop()
            self.files.mkdir(mode=0o700, parents=True)
            write_json(self.folder / "index.json", index)
        self._index = index
        self._pieces = pieces_by_part(index)

    def missing(self) -> list[int]:
        """Returns the numbers of the parts that have not arrived yet, ascending."""
        try:
            lines = self._journal.read_text(encoding="ascii", errors="replace").split("\n")[:-1]
        except FileNotFoundError:
            lines = []
        here = {int(line) for line in lines if line.isdigit()}
        return [number for number in range(len(self._pieces)) if number not in here]

    def left_bytes(self) -> int:
        """Returns how much room the parts that are missing need at most."""
        return min(len(self.missing()) * int(self._index["part_bytes"]), total_bytes(self._index))

    def part_path(self) -> Path:
        """Returns where a part lies while it is fetched."""
        return self.folder / "part"

    def accept(self, number: int, sha256: str) -> None:
        """Puts the part at :meth:`part_path` in place. Raises BadArchive where it is not what was packed."""
        path = self.part_path()
        if digest(path) != sha256:
            raise BadArchive(f"part {number} arrived damaged")
        name, handle = "", -1
        try:
            for piece, offset, data in read_part(path, self._pieces[number]):
                if piece.path != name:
                    _close(handle)
                    name, handle = piece.path, self._open(piece.path)
                view = memoryview(data)
                while view:
                    done = os.pwrite(handle, view, offset)
                    offset, view = offset + done, view[done:]
        finally:
            _close(handle)
        with self._journal.open("a", encoding="ascii") as journal:
            journal.write(f"{number}\n")
        path.unlink()

    def _open(self, name: str) -> int:
        target = self.files / safe_relative(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)

    def finish(self) -> list[str]:
        """Completes the files once no part is missing; returns their relative paths. Raises BadArchive.

        May be called again after an interruption while they were moved on: those that are gone from here
        have been placed.
        """
        if (self.folder / "whole").exists():
            return [str(path) for path, _, _ in self._index["files"]]
        for name, size, mtime in self._index["files"]:
            target = self.files / safe_relative(name)
            if not size:
                _close(self._open(name))
            if not target.is_file() or target.stat().st_size != size:
                raise BadArchive(f"{name} is not of the size that the index says")
            os.utime(target, (mtime, mtime))
        (self.folder / "whole").touch()
        return [str(path) for path, _, _ in self._index["files"]]

    def drop(self) -> None:
        """Removes everything that has arrived."""
        shutil.rmtree(self.folder, ignore_errors=True)


def check_index(index: dict[str, Any]) -> None:
    """Raises BadArchive where an index is not one, or wants to write where it must not."""
    try:
        names = [safe_relative(path) for path, _, _ in index["files"]]
        sizes = [size for _, size, _ in index["files"]]
        good = (
            isinstance(index["id"], str)
            and isinstance(index["part_bytes"], int)
            and index["part_bytes"] > 0
            and all(isinstance(size, int) and size >= 0 for size in sizes)
            and len(set(names)) == len(names)
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadArchive(f"the host's index cannot be used: {error}") from error
    if not good:
        raise BadArchive("the host's index cannot be used")


def _close(handle: int) -> None:
    if handle >= 0:
        if os.fstat(handle).st_size >= _WORTH_A_SYNC:
            # The journal must not outlive the bytes; for small files the check of sizes is enough.
            os.fsync(handle)
        os.close(handle)
