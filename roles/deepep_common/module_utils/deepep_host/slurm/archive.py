"""A run's files as one compressed archive in parts with SHA-256, as they come through a login host."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from ..files import safe_relative
from ..pack import BadArchive

PART_BYTES = 8 * 1024 * 1024
_CHUNK = 1024 * 1024


class _Parts:
    """A file-like sink that spreads what is written over numbered files of ``size`` bytes."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._size = size
        self._room = 0
        self._stream: IO[bytes] | None = None
        self._digest = hashlib.sha256()
        self.parts: list[dict[str, Any]] = []

    def write(self, data: bytes) -> int:
        """Takes all of ``data``."""
        view = memoryview(data)
        while view:
            stream = self._stream if self._stream is not None and self._room else self._next()
            piece = view[: self._room]
            stream.write(piece)
            self._digest.update(piece)
            self._room -= len(piece)
            self.parts[-1]["bytes"] += len(piece)
            view = view[len(piece) :]
        return len(data)

    def _next(self) -> IO[bytes]:
        self.close()
        name = f"part-{len(self.parts):05d}"
        self._stream = (self._folder / name).open("wb")
        self._digest = hashlib.sha256()
        self._room = self._size
        self.parts.append({"name": name, "bytes": 0, "sha256": ""})
        return self._stream

    def flush(self) -> None:
        """Does nothing: parts are flushed when they are closed."""

    def close(self) -> None:
        """Ends the current part."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
            self.parts[-1]["sha256"] = self._digest.hexdigest()


def pack(folder: Path, target: Path, part_bytes: int = PART_BYTES) -> list[dict[str, Any]]:
    """Packs the regular files below ``folder`` into parts in ``target``; returns their name, bytes, sha256.

    Links and special files are left out: nothing outside of the run's directory is ever carried away.
    Parts of an earlier packing are replaced.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(mode=0o700, parents=True)
    sink = _Parts(target, part_bytes)
    packed = gzip.GzipFile(fileobj=sink, mode="wb", compresslevel=4, mtime=0)
    with closing(packed), tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and not path.name.startswith(".new-"):
                _add(archive, path, path.relative_to(folder).as_posix())
    sink.close()
    return sink.parts


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    """Adds one file with the size it has now: a log that still grows must not break the archive."""
    try:
        stream = path.open("rb")
    except OSError:
        return
    with stream:
        info = archive.gettarinfo(arcname=name, fileobj=stream)
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        archive.addfile(info, _Exactly(stream, info.size))  # type: ignore[arg-type]


class _Exactly:
    """Reads exactly ``size`` bytes of a stream, zeros after its end."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._left = size

    def read(self, count: int) -> bytes:
        count = min(count, self._left)
        data = self._stream.read(count)
        self._left -= count
        return data + b"\0" * (count - len(data))


class _Joined:
    """Reads the parts one after another as one stream."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = list(paths)
        self._stream: IO[bytes] | None = None

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            if self._stream is None:
                if not self._paths:
                    break
                self._stream = self._paths.pop(0).open("rb")
            piece = self._stream.read(count - len(data))
            if not piece:
                self._stream.close()
                self._stream = None
            data += piece
        return data


def unpack(parts: list[Path], target: Path) -> list[str]:
    """Unpacks the parts below ``target`` (which must not exist yet); returns the relative paths.

    Only plain files under plain relative names come out. Raises BadArchive for anything else, for names that
    would leave ``target``, and for an archive that is cut.
    """
    target.mkdir(parents=True)
    names: list[str] = []
    try:
        with tarfile.open(fileobj=_Joined(parts), mode="r|gz") as archive:  # type: ignore[call-overload]
            for member in archive:
                source = archive.extractfile(member) if member.isreg() else None
                if source is None:
                    raise BadArchive(f"{member.name!r} in the archive is no plain file")
                path = target / safe_relative(member.name)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as stream:
                    shutil.copyfileobj(source, stream, _CHUNK)
                if path.stat().st_size != member.size:
                    raise BadArchive(f"{member.name!r} in the archive is cut")
                os.utime(path, (member.mtime, member.mtime))
                names.append(member.name)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise BadArchive(f"the archive cannot be read: {error}") from error
    return names
