"""Searches a result tree for the secrets that its session used, in every form they may have taken."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import urllib.parse
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .files import read_json, write_bytes, write_json

SHORTEST = 4
"""Fewer letters are found everywhere by chance."""
_ROLES = re.compile(r"\.state/bundles/[^/]+/roles/")
"""The compiler's own files: no text of a user is in them, and they must stay as they are to be played."""
_MARK = b"[secret removed]"
_CHUNK = 8 << 20


def record_use(session: Path, registry: str, host: str) -> None:
    """Keeps that credentials of ``registry[/repository]`` were used, as evaluated for ``host``.

    Never the secret.
    """
    name = hashlib.sha256(registry.encode()).hexdigest()[:16]
    write_json(session / ".state" / "credentials" / f"{name}.json", {"registry": registry, "host": host})


def uses(session: Path) -> list[tuple[str, str]]:
    """Returns registry and host of every use, sorted."""
    found = [read_json(path) for path in (session / ".state" / "credentials").glob("*.json")]
    return sorted((str(use["registry"]), str(use["host"])) for use in found if use)


def forms(secret: str, user: str = "") -> list[bytes]:
    """Returns what a secret may look like in a file: as it is, in base64 and URL encoding, quoted, with
    its user.

    base64 of a text that contains the secret shows it in one of three alignments.
    """
    raw = secret.encode("utf-8")
    found = {raw, json.dumps(secret)[1:-1].encode(), urllib.parse.quote(secret, safe="").encode(),
             urllib.parse.quote_plus(secret).encode(), raw.hex().encode()}  # fmt: skip
    for shift in range(3):
        padded = base64.b64encode(b"\0" * shift + raw)
        # The first letters also hold bits of what stands before, the last ones of what comes behind.
        start, stop = (0, 2, 3)[shift], (len(raw) + shift) * 8 // 6
        for text in (padded[start:stop], padded[start:stop].translate(bytes.maketrans(b"+/", b"-_"))):
            if len(text) >= SHORTEST:
                found.add(text)
    if user:
        found.add(base64.b64encode(f"{user}:{secret}".encode()))
    return sorted(found, key=lambda form: (-len(form), form))


def scan(root: Path, secrets: Mapping[str, Sequence[tuple[str, str]]]) -> dict[str, Any]:
    """Searches all files below ``root`` and removes what it finds from them.

    ``secrets``: name of a registry -> pairs of user and secret. Returns ``{"searched": files, "hits":
    [{"file",
    "registry", "count"}], "not_searched": [reasons]}``; file names are searched too.
    """
    wanted: dict[str, list[bytes]] = {}
    omitted = []
    for registry, pairs in secrets.items():
        for user, secret in pairs:
            if len(secret) < SHORTEST:
                omitted.append(f"the secret of {registry} is too short to be searched for")
            else:
                wanted.setdefault(registry, []).extend(forms(secret, user))
    patterns = {
        registry: re.compile(b"|".join(re.escape(form) for form in dict.fromkeys(found)))
        for registry, found in wanted.items()
    }
    longest = max((len(form) for found in wanted.values() for form in found), default=1)
    hits: list[dict[str, Any]] = []
    count = 0
    for path in sorted(root.rglob("*")) if patterns else ():
        if path.is_symlink() or not path.is_file() or _ROLES.match(path.relative_to(root).as_posix()):
            continue
        count += 1
        try:
            hits += _file(root, path, patterns, longest)
        except OSError as error:
            omitted.append(f"{path.relative_to(root)}: {error.strerror or error}")
    return {"searched": count, "hits": hits, "not_searched": omitted}


def _file(
    root: Path, path: Path, patterns: Mapping[str, re.Pattern[bytes]], longest: int
) -> list[dict[str, Any]]:
    packed = path.suffix == ".gz" and _contains(path, patterns, longest, packed=True)
    if not packed and not _contains(path, patterns, longest, packed=False):
        return []
    data = _unpacked(path) if packed else path.read_bytes()
    hits = []
    for registry, pattern in patterns.items():
        data, found = pattern.subn(_MARK, data)
        if found:
            hits.append({"file": path.relative_to(root).as_posix(), "registry": registry, "count": found})
    mode = path.stat().st_mode & 0o777
    write_bytes(path, gzip.compress(data, mtime=0) if packed else data, mode)
    return hits


def _contains(path: Path, patterns: Mapping[str, re.Pattern[bytes]], longest: int, packed: bool) -> bool:
    """Returns whether any pattern is in the file; a large one is never in memory as a whole."""
    tail = b""
    for data in _stretches(path, packed):
        window = tail + data
        if any(pattern.search(window) for pattern in patterns.values()):
            return True
        tail = window[-longest:]
    return False


def _stretches(path: Path, packed: bool) -> Iterator[bytes]:
    """Yields a file's content; a packed one's as far as it can be unpacked."""
    with gzip.open(path, "rb") if packed else path.open("rb") as stream:
        while True:
            try:
                # What is there of a file that was cut off comes in small reads only.
                data = stream.read1(_CHUNK) if isinstance(stream, gzip.GzipFile) else stream.read(_CHUNK)
            except (EOFError, zlib.error, gzip.BadGzipFile):
                return
            if not data:
                return
            yield data


def _unpacked(path: Path) -> bytes:
    return b"".join(_stretches(path, packed=True))
