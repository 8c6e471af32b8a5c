"""A run inside a container that srun made (pyxis): what over SSH are mounts of a run's own is copied here."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import now_iso, write_json


def unpacked(
    spec: Mapping[str, Any], folder: Path, file: str, digest: str | None, python: str
) -> dict[str, Any]:
    """Returns a run's part of the plan as it is inside: without a container of its own, with one ``around``.

    Writes logs/container.json, as far as it can be told from inside what srun made.
    """
    around = {"runtime": "pyxis", "image": spec["image"], "image_id": file, "digest": digest}
    write_json(folder / "logs" / "container.json", {**around, "recorded_at": now_iso()})
    own = {"container_runtime": "none", "container": None, "mounts": []}
    return {**spec, **own, "around": {**around, "name": None, "python": python}}


def own_mounts(mounts: Sequence[Any], folder: Path) -> list[tuple[Path, Path]]:
    """Returns source and target of the mounts that lead into the run's directory ``folder``."""
    found = []
    for mount in mounts:
        if isinstance(mount, str):
            continue
        text = "".join(
            part if isinstance(part, str) else str(folder) if part["var"] == "run_dir" else ""
            for part in mount["join"]
        )
        source, target = text.split(":")[:2]
        found.append((Path(source), Path(target)))
    return found


def bring_in(mounts: Sequence[tuple[Path, Path]]) -> None:
    """Copies files of the run to where its program looks for them."""
    for source, target in mounts:
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        else:
            target.mkdir(parents=True, exist_ok=True)


def bring_out(mounts: Sequence[tuple[Path, Path]]) -> None:
    """Copies what the program wrote back into the run's directory."""
    for source, target in mounts:
        if target.is_dir():
            shutil.copytree(target, source, dirs_exist_ok=True)
