"""Carries a run's files from a host to the controller: a compressed archive in parts with SHA-256."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import stat
import tarfile
from typing import IO, Any

from .files import safe_relative

PART_BYTES = 8 * 1024 * 1024
_CHUNK = 1024 * 1024


class BadArchive(Exception):
    """What came over is not what was packed, or wants to go where it must not."""


class _Parts:
    """A file-like sink that spreads what is written over numbered files of ``size`` bytes."""

    def __init__(self, folder: str, size: int) -> None:
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
            if self._stream is None or self._room == 0:
                self._next()
            piece = view[: self._room]
            assert self._stream is not None
            self._stream.write(piece)
            self._digest.update(piece)
            self._room -= len(piece)
            self.parts[-1]["bytes"] += len(piece)
            view = view[len(piece) :]
        return len(data)

    def _next(self) -> None:
        self.close()
        name = f"part-{len(self.parts):05d}"
        self._stream = open(os.path.join(self._folder, name), "wb")  # noqa: SIM115 - closed in close()
        self._digest = hashlib.sha256()
        self._room = self._size
        self.parts.append({"name": name, "bytes": 0, "sha256": ""})

    def flush(self) -> None:
        """Does nothing: parts are flushed when they are closed."""

    def close(self) -> None:
        """Ends the current part."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
            self.parts[-1]["sha256"] = self._digest.hexdigest()


def pack(folder: str, target: str, part_bytes: int = PART_BYTES) -> list[dict[str, Any]]:
    """Packs the regular files below ``folder`` into parts in ``target``; returns their name, bytes, sha256.

    Links and special files are left out: nothing outside of the run's directory is ever carried away.
    Parts of an earlier packing are replaced.
    """
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target, mode=0o700)
    sink = _Parts(target, part_bytes)
    with gzip.GzipFile(fileobj=sink, mode="wb", compresslevel=4, mtime=0) as packed:  # type: ignore[call-overload]
        with tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for path, names, files in os.walk(folder):
                names[:] = sorted(name for name in names if os.path.join(path, name) != target)
                for name in sorted(files):
                    full = os.path.join(path, name)
                    if stat.S_ISREG(os.lstat(full).st_mode) and not name.startswith(".new-"):
                        _add(archive, full, os.path.relpath(full, folder))
    sink.close()
    return sink.parts


def _add(archive: tarfile.TarFile, path: str, name: str) -> None:
    """Adds one file with the size it has now: a log that still grows must not break the archive."""
    try:
        stream = open(path, "rb")  # noqa: SIM115 - closed below; a file may vanish before
    except OSError:
        return
    with stream:
        info = archive.gettarinfo(name, arcname=name, fileobj=stream)
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


def digest(path: str) -> str:
    """Returns the SHA-256 of a file, or "" where there is none."""
    total = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            for chunk in iter(lambda: stream.read(_CHUNK), b""):
                total.update(chunk)
    except OSError:
        return ""
    return total.hexdigest()


class _Joined:
    """Reads the parts one after another as one stream."""

    def __init__(self, paths: list[str]) -> None:
        self._paths = list(paths)
        self._stream: IO[bytes] | None = None

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            if self._stream is None:
                if not self._paths:
                    break
                self._stream = open(self._paths.pop(0), "rb")  # noqa: SIM115 - closed at its end
            piece = self._stream.read(count - len(data))
            if not piece:
                self._stream.close()
                self._stream = None
            data += piece
        return data


def unpack(parts: list[str], target: str) -> list[str]:
    """Unpacks the parts below ``target`` (which must not exist yet); returns the relative paths.

    Only plain files under plain relative names come out. Raises BadArchive for anything else, for names that
    would leave ``target``, and for an archive that is cut.
    """
    os.makedirs(target)
    names: list[str] = []
    try:
        with tarfile.open(fileobj=_Joined(parts), mode="r|gz") as archive:  # type: ignore[call-overload]
            for member in archive:
                if not member.isreg():
                    raise BadArchive(f"{member.name!r} in the archive is no plain file")
                path = os.path.join(target, safe_relative(member.name))
                source = archive.extractfile(member)
                assert source is not None
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "xb") as stream:
                    shutil.copyfileobj(source, stream, _CHUNK)
                if os.path.getsize(path) != member.size:
                    raise BadArchive(f"{member.name!r} in the archive is cut")
                os.utime(path, (member.mtime, member.mtime))
                names.append(member.name)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise BadArchive(f"the archive cannot be read: {error}") from error
    return names
