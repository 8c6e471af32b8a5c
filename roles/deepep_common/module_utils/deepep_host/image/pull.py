"""Brings the parts of an archive from the registry into a file, several layers at a time."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..reference import Image
from ..registry import DAMAGED, DOWN, Blob, Client, RegistryError, chunks
from .archive import Part
from .incoming import BadPiece, Incoming

AT_ONCE = 3
"""Layers at a time, as docker does."""
ATTEMPTS = 4
PAUSE_S = 2.0


def pull(client: Client, image: Image, parts: Sequence[Part], target: Incoming) -> None:
    """Fills ``target``; what is there already is not asked for. Raises RegistryError, OSError (a full
    disk).
    """
    stop = threading.Event()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [pool.submit(_piece, client, image, parts[index], target, index, stop)
                for index in target.missing()]  # fmt: skip
        try:
            for job in jobs:
                job.result()
        finally:
            stop.set()


def _piece(
    client: Client, image: Image, part: Part, target: Incoming, index: int, stop: threading.Event
) -> None:
    if isinstance(part, bytes):
        target.start_piece(index)
        target.write(index, part)
        target.end_piece(index, hashlib.sha256(part).hexdigest())
        return
    digest = hashlib.sha256()
    offset = 0
    target.start_piece(index)
    for attempt in range(ATTEMPTS):
        if stop.is_set():
            return
        try:
            offset = _stream(client, image, part, target, index, digest, offset, stop)
            if stop.is_set():
                return
            if offset < part.size:
                raise _Broken("the connection ended early")
            target.end_piece(index, digest.hexdigest())
            return
        except BadPiece as error:
            # Nothing of it can be kept: which byte is wrong is not known.
            digest, offset, problem = hashlib.sha256(), 0, str(error)
            target.start_piece(index)
            code = DAMAGED
        except _Broken as error:
            problem, code, offset = str(error), DOWN, error.offset if error.offset >= 0 else offset
        except RegistryError as error:
            if error.code != DOWN:
                raise
            problem, code = error.text, DOWN
        if attempt + 1 < ATTEMPTS:
            stop.wait(PAUSE_S * (attempt + 1))
    raise RegistryError(
        code,
        f"{client.registry} did not give layer {part.digest[:19]} of {image.text} in {ATTEMPTS} "
        f"attempts: {problem}",
        "try again later",
    )


class _Broken(Exception):
    def __init__(self, text: str, offset: int = -1) -> None:
        super().__init__(text)
        self.offset = offset


def _stream(
    client: Client,
    image: Image,
    blob: Blob,
    target: Incoming,
    index: int,
    digest: Any,
    offset: int,
    stop: threading.Event,
) -> int:
    """Returns the offset up to which the blob has come. Raises _Broken (network), OSError (disk)."""
    with client.open_blob(image, blob, offset) as stream:
        source = chunks(stream)
        while not stop.is_set():
            try:
                data = next(source, b"")
            except OSError as error:
                raise _Broken(str(error) or type(error).__name__, offset) from error
            if not data:
                break
            target.write(index, data)
            digest.update(data)
            offset += len(data)
            client.count(len(data))
    return offset
