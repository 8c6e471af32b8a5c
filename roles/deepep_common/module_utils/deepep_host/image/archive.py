"""A docker archive whose every byte is known before it is written: its parts are named by their digests.

Layers stay as the registry has them (compressed): docker and podman load them so, and what goes from host to
host is what the registry sent. The same image gives the same bytes, so hosts check each other's copies.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from ..registry import Blob, Manifest

Part = Union[bytes, Blob]
"""Bytes as they are, or a blob that the registry has."""

_BLOCK = 512
_END = b"\0" * (20 * _BLOCK)


class BadArchive(Exception):
    """A file that is no image archive; the text says why."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a file that is checked by itself. ``size`` in bytes, ``sha256`` in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Content:
    """What an archive holds: the image's id (digest of its configuration) and its layers, uncompressed."""

    config: str
    diff_ids: tuple[str, ...]


def parts(manifest: Manifest, config: bytes, name: str) -> list[Part]:
    """Returns the archive of an image, part by part. ``name`` is the tag that it gets when it is loaded."""
    layers = {layer.digest: layer for layer in manifest.layers}
    listing = [
        {
            "Config": _hex(manifest.config.digest) + ".json",
            "RepoTags": [name],
            "Layers": [_hex(layer.digest) + ".tar" for layer in manifest.layers],
        }
    ]
    index = json.dumps(listing).encode("ascii")
    found: list[Part] = []
    _add(found, _hex(manifest.config.digest) + ".json", config)
    for layer in layers.values():
        _add(found, _hex(layer.digest) + ".tar", layer)
    _add(found, "manifest.json", index)
    _append(found, _END)
    return found


def pieces(found: Sequence[Part]) -> list[Piece]:
    """Returns how the parts are checked."""
    return [
        Piece(len(part), hashlib.sha256(part).hexdigest())
        if isinstance(part, bytes)
        else Piece(part.size, _hex(part.digest))
        for part in found
    ]


def content(config: bytes, digest: str) -> Content:
    """Returns what a configuration says of its image. Raises BadArchive."""
    try:
        value = json.loads(config.decode("utf-8"))
        return Content(digest, tuple(str(layer) for layer in value["rootfs"]["diff_ids"]))
    except (ValueError, KeyError, TypeError) as error:
        raise BadArchive(f"the image's configuration cannot be read: {error!r}") from error


def examine(path: Path) -> Content:
    """Returns what a docker or OCI archive holds, without unpacking it. Raises BadArchive."""
    try:
        with tarfile.open(path, "r:*") as tar:
            names = {
                member.name[2:] if member.name.startswith("./") else member.name: member for member in tar
            }

            def read(name: str) -> bytes:
                stream = tar.extractfile(names[name])
                if stream is None:
                    raise BadArchive(f"{name} in {path} is no file")
                return stream.read(16 * 1024 * 1024)

            if "manifest.json" in names:
                images = json.loads(read("manifest.json").decode("utf-8"))
                _single(path, images)
                config = read(str(images[0]["Config"]))
            else:
                index = json.loads(read("index.json").decode("utf-8"))
                _single(path, index["manifests"])
                manifest = json.loads(read(_blob_path(index["manifests"][0]["digest"])).decode("utf-8"))
                config = read(_blob_path(manifest["config"]["digest"]))
    except (KeyError, ValueError, TypeError, IndexError, EOFError, tarfile.TarError) as error:
        raise BadArchive(
            f"{path} is no docker or OCI archive, or is not whole ({type(error).__name__}: {error}): "
            f"write it "
            "again with docker save, podman save or skopeo"
        ) from error
    return content(config, "sha256:" + hashlib.sha256(config).hexdigest())


def _single(path: Path, images: Any) -> None:
    if len(images) != 1:
        raise BadArchive(f"{path} holds {len(images)} images: save the one that is meant by itself")


def _blob_path(digest: str) -> str:
    algorithm, _, value = str(digest).partition(":")
    return f"blobs/{algorithm}/{value}"


def _hex(digest: str) -> str:
    return digest.partition(":")[2]


def _add(found: list[Part], name: str, data: Part) -> None:
    size = len(data) if isinstance(data, bytes) else data.size
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    _append(found, info.tobuf(tarfile.GNU_FORMAT))
    if isinstance(data, bytes):
        _append(found, data)
    elif size:
        found.append(data)
    _append(found, b"\0" * (-size % _BLOCK))


def _append(found: list[Part], data: bytes) -> None:
    # Neighbouring bytes are one part.
    if found and isinstance(found[-1], bytes):
        found[-1] += data
    elif data:
        found.append(data)
