"""A file that is on its way here: written from several threads, read by peers before it is whole."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from .archive import Piece

CHUNK = 1 << 20


class BadPiece(Exception):
    """What arrived is not what it should be."""


class Incoming:
    """Pieces of ``path`` that have arrived. ``available`` bytes from the start on are there to be read."""

    def __init__(self, path: Path, pieces: Sequence[Piece]) -> None:
        self.path = path
        self.pieces = list(pieces)
        self.size = sum(piece.size for piece in pieces)
        self.offsets: list[int] = []
        offset = 0
        for piece in self.pieces:
            self.offsets.append(offset)
            offset += piece.size
        self._arrived = [0] * len(self.pieces)
        self._whole = [piece.size == 0 for piece in self.pieces]
        self._changed = threading.Condition()
        self._ended = False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def recover(self) -> int:
        """Keeps what an earlier attempt left and is right; returns its bytes."""
        kept = 0
        there = os.fstat(self._file).st_size
        for index, piece in enumerate(self.pieces):
            if piece.size and self.offsets[index] + piece.size <= there and self._check(index):
                self.end_piece(index, piece.sha256)
                kept += piece.size
        return kept

    def missing(self) -> list[int]:
        """Returns the numbers of the pieces that are not whole, in order."""
        with self._changed:
            return [index for index, whole in enumerate(self._whole) if not whole]

    def start_piece(self, index: int) -> None:
        """Begins a piece again."""
        with self._changed:
            self._arrived[index] = 0

    def write(self, index: int, data: bytes) -> None:
        """Appends to a piece. Raises BadPiece where more comes than belongs to it, OSError."""
        at = self._arrived[index]
        if at + len(data) > self.pieces[index].size:
            raise BadPiece("more came than belongs there")
        view = memoryview(data)
        position = self.offsets[index] + at
        while view:
            written = os.pwrite(self._file, view, position)
            position += written
            view = view[written:]
        with self._changed:
            self._arrived[index] = at + len(data)
            self._changed.notify_all()

    def end_piece(self, index: int, sha256: str) -> None:
        """Ends a piece. Raises BadPiece, and forgets it, where it is not the right one."""
        if sha256 != self.pieces[index].sha256:
            self.start_piece(index)
            raise BadPiece("what came is not what its digest says")
        with self._changed:
            self._arrived[index] = self.pieces[index].size
            self._whole[index] = True
            self._changed.notify_all()

    @property
    def arrived(self) -> int:
        """Bytes that are here, wherever they belong."""
        with self._changed:
            return sum(self._arrived)

    def available(self) -> int:
        """Returns how many bytes from the start on can be read."""
        with self._changed:
            return self._available()

    def _available(self) -> int:
        for index, whole in enumerate(self._whole):
            if not whole:
                return self.offsets[index] + self._arrived[index]
        return self.size

    def wait_for(self, offset: int, timeout_s: float) -> int:
        """Returns the bytes available once they are more than ``offset``, or after ``timeout_s``."""
        with self._changed:
            self._changed.wait_for(lambda: self._available() > offset or self._ended, timeout_s)
            return self._available()

    def finish(self) -> None:
        """Puts everything on the disk. Raises OSError where it cannot be."""
        os.fsync(self._file)

    def close(self) -> None:
        """No more will come."""
        with self._changed:
            if not self._ended:
                self._ended = True
                os.close(self._file)
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Whether no more will come."""
        with self._changed:
            return self._ended

    def _check(self, index: int) -> bool:
        digest = hashlib.sha256()
        position, left = self.offsets[index], self.pieces[index].size
        while left:
            data = os.pread(self._file, min(CHUNK, left), position)
            if not data:
                return False
            digest.update(data)
            position += len(data)
            left -= len(data)
        return digest.hexdigest() == self.pieces[index].sha256
