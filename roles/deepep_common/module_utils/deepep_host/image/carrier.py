"""The controller's own hands: pulling an image for hosts without a way out, and files that pass through
it.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import credentials
from ..reference import parse
from ..registry import Client, Login
from . import archive, enroot, pull, steps, store
from .agent import manifest_from_json
from .incoming import Incoming


class CarrierError(Exception):
    """A file of the controller's cannot be used; the text says why."""


def place(folder: Path, key: str) -> Path:
    """Returns where an image is on the controller while hosts need it, in ``board.folder``."""
    return folder / f"{key}.file"


def remove(folder: Path, key: str) -> None:
    """Removes it."""
    path = place(folder, key)
    for each in (path, store.partial(path)):
        each.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Removes whatever an interrupted staging has left in ``folder``; enroot's layers are a directory."""
    for left in folder.glob("*.file*"):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def resolve(told: Mapping[str, Any], login: Login, machine: str) -> dict[str, Any]:
    """Returns what is to be staged, asked for by the controller. Raises RegistryError."""
    return steps.resolve(Path("/nonexistent"), told["reference"], told["runtime"], login, "client", machine)


def fetch(spec: Mapping[str, Any], login: Login, target: Path) -> int:
    """Pulls the archive to ``target``; returns the bytes from the registry. Raises RegistryError, OSError."""
    image = parse(spec["reference"])
    parts = archive.parts(manifest_from_json(spec["manifest"]), base64.b64decode(spec["config"]), spec["tag"])
    store.check_room([(target.parent, int(spec["size"]), "the image's file on the controller")])
    incoming = Incoming(store.partial(target), archive.pieces(parts))
    client = Client(image.host, login)
    pull.pull(client, image, parts, incoming)
    incoming.finish()
    incoming.close()
    store.partial(target).replace(target)
    return client.received


def import_squashfs(
    spec: Mapping[str, Any], login: Login, run_id: str, target: Path, timeout_s: float
) -> dict[str, Any]:
    """Has the controller's own enroot import the image to ``target``; returns what was measured of it.

    Raises CarrierError, OSError.
    """
    part = store.partial(target)
    part.unlink(missing_ok=True)
    # What the layers need while they are imported, and the file.
    store.check_room([(target.parent, 2 * int(spec["size"]), "the image on the controller, and its layers")])
    try:
        enroot.import_image(parse(spec["reference"]), login, spec.get("auth_host"), run_id, part, timeout_s)
    except (enroot.EnrootError, credentials.CredentialError) as error:
        raise CarrierError(f"on the controller: {error}") from error
    measured = measure(part, "enroot")
    part.replace(target)
    return {**measured, "digest": spec["digest"]}


def measure(path: Path, runtime: str) -> dict[str, Any]:
    """Returns what has to be known of a file of the user's. Raises CarrierError."""
    content = None
    if runtime == "enroot":
        problem = store.squashfs_problem(path)
        if problem:
            raise CarrierError(problem)
    else:
        try:
            found = archive.examine(path)
        except archive.BadArchive as error:
            raise CarrierError(str(error)) from error
        content = {"config": found.config, "diff_ids": list(found.diff_ids)}
    sha256, pieces = store.measure(path, lambda _done: None)
    return {
        "size": path.stat().st_size,
        "pieces": [[piece.size, piece.sha256] for piece in pieces],
        "content": content,
        "digest": content["config"] if content else f"sha256:{sha256}",
        "sha256": sha256,
    }


def stretches(path: Path, size: int) -> Iterator[str]:
    """Yields a file in stretches, in base64."""
    with path.open("rb") as stream:
        while True:
            data = stream.read(size)
            if not data:
                return
            yield base64.b64encode(data).decode("ascii")


def decoded(text: str) -> bytes:
    """Returns a stretch as bytes."""
    return base64.b64decode(text)
