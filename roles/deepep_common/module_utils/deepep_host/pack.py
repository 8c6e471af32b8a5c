"""Carries a run's files from a host to the controller: an index first, then compressed parts with SHA-256.

The files of the index, one after another, are one payload; part *k* is its *k*-th piece of ``part_bytes``,
compressed by itself. So neither side ever holds a whole file in memory or a second copy of everything on
disk, any part can be made again at any time, and what has arrived stays of use after an interruption.
The index says where each byte belongs: nothing in a part names a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from .asked import ASKED, TAKEN
from .files import file_sha256, safe_relative
from .trouble import RESERVE

PART_BYTES = 16 * 1024 * 1024
"""Uncompressed size of a part: what is fetched again at most after an interruption."""

TRANSIENT = (
    "launch.json", "progress.json", "stop.json", "enter.json", "enter.rc", "inside.json", RESERVE,
    ASKED, TAKEN,
)  # fmt: skip
"""Files of a run's directory that are only for the supervisor, and for the controller while the run lasts."""

LIMIT = "limit"
LINK = "link"
SPECIAL = "special"
NAME = "name"
UNREADABLE = "unreadable"
WHY = {
    LIMIT: "above the limit",
    LINK: "a link",
    SPECIAL: "no plain file",
    NAME: "its name is no plain text, or too long",
    UNREADABLE: "cannot be read",
}
"""Why a file is left out."""

_CHUNK = 1024 * 1024
_LONGEST_NAME = 180
_MOST_LEFT_OUT = 1000
_FIRST = ("state.json", "metadata.toml", "config.yaml", "env_vars.sh")
_RECORDS = ("results/", "ranks/", "markers/")


class BadArchive(Exception):
    """What came over is not what was packed, or wants to go where it must not."""


class Sink(Protocol):
    """Takes the bytes of a part."""

    def write(self, data: bytes) -> Any:
        """Takes all of ``data``."""


class Piece(NamedTuple):
    """A stretch of one file within a part."""

    path: str
    offset: int
    size: int


class _Found(NamedTuple):
    path: str
    bytes: int
    mtime: int


def make_index(folder: Path, limit_bytes: int = 0, part_bytes: int = PART_BYTES) -> dict[str, Any]:
    """Returns what there is to fetch below ``folder``, records first, then logs, profiler traces last.

    ``{"id", "part_bytes", "files": [[path, bytes, mtime]], "left_out": [{"path", "bytes", "why"}]}``. Links
    and special files are left out: nothing outside of the run's directory is ever carried away. So is what
    would take the sum of sizes above ``limit_bytes`` (0: no limit); smaller files behind it still go.
    """
    found, left_out = _scan(folder)
    files: list[list[Any]] = []
    total = 0
    for one in sorted(found, key=lambda one: (_rank(one.path), one.path)):
        if limit_bytes and total + one.bytes > limit_bytes:
            left_out.append({"path": one.path, "bytes": one.bytes, "why": LIMIT})
            continue
        total += one.bytes
        files.append(list(one))
    content = {"part_bytes": part_bytes, "files": files}
    identity = hashlib.sha256(json.dumps(content).encode("ascii")).hexdigest()
    return {"id": identity, **content, "left_out": left_out}


def _rank(path: str) -> int:
    if path in _FIRST or path.startswith(_RECORDS):
        return 0
    if path.startswith("logs/"):
        return 1
    return 3 if path.startswith("traces/") else 2


def _scan(folder: Path) -> tuple[list[_Found], list[dict[str, Any]]]:
    found: list[_Found] = []
    left_out: list[dict[str, Any]] = []

    def leave(path: str, size: int, why: str) -> None:
        if len(left_out) < _MOST_LEFT_OUT:
            printable = path.encode("utf-8", "backslashreplace").decode("utf-8")
            left_out.append({"path": printable, "bytes": size, "why": why})

    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            entries = sorted(os.scandir(folder / prefix), key=lambda entry: entry.name)
        except OSError:
            leave(prefix, 0, UNREADABLE)
            continue
        for entry in entries:
            path = prefix + entry.name
            if path in TRANSIENT or entry.name.startswith(".new-"):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue  # gone since: it was temporary
            if not _is_plain(entry.name):
                leave(path, status.st_size, NAME)
            elif stat.S_ISLNK(status.st_mode):
                leave(path, 0, LINK)
            elif stat.S_ISDIR(status.st_mode):
                pending.append(path + "/")
            elif not stat.S_ISREG(status.st_mode):
                leave(path, 0, SPECIAL)
            elif not _can_read(folder, path):
                leave(path, status.st_size, UNREADABLE)
            else:
                found.append(_Found(path, status.st_size, int(status.st_mtime)))
    return found, left_out


def _is_plain(name: str) -> bool:
    return name.isprintable() and "\\" not in name and len(name.encode("utf-8", "replace")) <= _LONGEST_NAME


def _can_read(folder: Path, path: str) -> bool:
    try:
        os.close(_open_below(folder, path))
    except OSError:
        return False
    return True


def _open_below(folder: Path, path: str) -> int:
    """Opens a plain file for reading without following a link anywhere below ``folder``. Raises OSError."""
    *above, name = safe_relative(path).split("/")
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in above:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here)
    finally:
        os.close(here)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{path} is no plain file")
    return handle


def total_bytes(index: dict[str, Any]) -> int:
    """Returns the sum of the sizes of all files of an index."""
    return sum(int(size) for _, size, _ in index["files"])


def number_of_parts(index: dict[str, Any]) -> int:
    """Returns how many parts the files of an index make."""
    return -(-total_bytes(index) // int(index["part_bytes"]))


def pieces_by_part(index: dict[str, Any]) -> list[list[Piece]]:
    """Returns which stretches of which files each part holds, in order."""
    size = int(index["part_bytes"])
    parts: list[list[Piece]] = [[] for _ in range(number_of_parts(index))]
    position = 0
    for path, length, _ in index["files"]:
        offset = 0
        while offset < length:
            step = min(length - offset, size - position % size)
            parts[position // size].append(Piece(path, offset, step))
            offset += step
            position += step
    return parts


def write_part(folder: Path, pieces: list[Piece], sink: Sink) -> dict[str, Any]:
    """Writes one part compressed to ``sink``; returns ``{"bytes", "sha256"}`` of what was written.

    A file that has become shorter, or cannot be read any more, counts as zeros from there: a log that is
    replaced must not break the others' way home.
    """
    squeeze = zlib.compressobj(4)
    digest_ = hashlib.sha256()
    size = 0
    for data in _payload(folder, pieces):
        packed = squeeze.compress(data)
        digest_.update(packed)
        size += len(packed)
        sink.write(packed)
    packed = squeeze.flush()
    digest_.update(packed)
    sink.write(packed)
    return {"bytes": size + len(packed), "sha256": digest_.hexdigest()}


def _payload(folder: Path, pieces: list[Piece]) -> Iterator[bytes]:
    for piece in pieces:
        left = piece.size
        try:
            handle = _open_below(folder, piece.path)
        except OSError:
            handle = -1
        try:
            while left > 0:
                data = (
                    b""
                    if handle < 0
                    else os.pread(handle, min(left, _CHUNK), piece.offset + piece.size - left)
                )
                data = data or b"\0" * min(left, _CHUNK)
                left -= len(data)
                yield data
        finally:
            if handle >= 0:
                os.close(handle)


def read_part(path: Path, pieces: list[Piece]) -> Iterator[tuple[Piece, int, bytes]]:
    """Yields the content of a part file: piece, offset in the file, data. Raises BadArchive.

    Never yields more than the pieces hold, whatever the part expands to.
    """
    stream = _expand(path)
    rest = b""
    for piece in pieces:
        done = 0
        while done < piece.size:
            rest = rest or next(stream, b"")
            if not rest:
                raise BadArchive(f"{path.name} is shorter than the index says")
            data = rest[: piece.size - done]
            rest = rest[len(data) :]
            yield piece, piece.offset + done, data
            done += len(data)
    if rest or next(stream, b""):
        raise BadArchive(f"{path.name} is longer than the index says")


def _expand(path: Path) -> Iterator[bytes]:
    expand = zlib.decompressobj()
    try:
        with path.open("rb") as stream:
            for packed in iter(lambda: stream.read(_CHUNK), b""):
                while packed and not expand.eof:
                    data = expand.decompress(packed, _CHUNK)
                    packed = expand.unconsumed_tail
                    if data:
                        yield data
                if packed or expand.unused_data:
                    raise BadArchive(f"{path.name} goes on after its end")
        if not expand.eof:
            raise BadArchive(f"{path.name} is cut")
    except zlib.error as error:
        raise BadArchive(f"{path.name} cannot be expanded: {error}") from error


def digest(path: Path) -> str:
    """Returns the SHA-256 of a file, or "" where there is none."""
    try:
        return file_sha256(path)
    except OSError:
        return ""
