"""What a host does when its files are fetched: offers an index, then packs the parts that are asked for."""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .control import observe
from .files import read_json, run_path, write_json
from .pack import PART_BYTES, make_index, number_of_parts, pieces_by_part, total_bytes, write_part
from .state import run_dir

ROOM_LEFT = 64 * 1024 * 1024
"""What packing leaves free on this host's disk."""


def parts_dir(base: Path, run: str) -> Path:
    """Returns where parts of a run lie until they are fetched, below a host directory."""
    return run_path(base / "parts", run)


def offer(
    base: Path,
    run: str,
    limit_bytes: int,
    inline_bytes: int,
    look: Callable[[Path], dict[str, Any] | None] = observe,
) -> dict[str, Any]:
    """Returns ``{"state", "index", "folder"}`` of a run, state None where it was never started here.

    Small files come along, as ``part``: most runs need no second question. ``look`` tells the state of a
    run's directory; the default is for runs that are held on this host.
    """
    folder = run_dir(base, run)
    state = look(folder)
    if state is None:
        return {"state": None}
    index = make_index(folder, limit_bytes, PART_BYTES)
    answer = {"state": state, "index": index, "folder": str(parts_dir(base, run))}
    if number_of_parts(index) == 1 and total_bytes(index) <= inline_bytes:
        answer["part"] = _content(folder, index, 0)
    elif state["status"] != "ended":
        _keep(parts_dir(base, run), index)
    return answer


def pack_parts(
    base: Path, run: str, limit_bytes: int, index_id: str, numbers: Sequence[int], inline: bool
) -> dict[str, Any]:
    """Packs as many of the wanted parts as there is room for, in place of those packed before.

    Returns ``{"parts": [{"number", "name", "bytes", "sha256"}]}``; ``{"part": ...}`` with the content of the
    first where ``inline`` or where the disk is full; ``{"stale": True}`` where the files are others by now.
    """
    folder, target = run_dir(base, run), parts_dir(base, run)
    index = read_json(target / "index.json")
    if index is None or index.get("id") != index_id:
        index = make_index(folder, limit_bytes, PART_BYTES)
    wanted = [number for number in numbers if 0 <= number < number_of_parts(index)]
    if index["id"] != index_id or not wanted:
        return {"stale": True}
    for path in target.glob("part-*"):
        path.unlink()
    packed = [] if inline else _to_files(folder, target, index, wanted)
    return {"parts": packed} if packed else {"part": _content(folder, index, wanted[0])}


def _keep(target: Path, index: dict[str, Any]) -> None:
    """Keeps the index of files that still grow; without it their parts fit only while they do not."""
    try:
        write_json(target / "index.json", index)
    except OSError:
        return


def _to_files(folder: Path, target: Path, index: dict[str, Any], wanted: list[int]) -> list[dict[str, Any]]:
    packed: list[dict[str, Any]] = []
    pieces = pieces_by_part(index)
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in wanted:
            if shutil.disk_usage(target).free < int(index["part_bytes"]) + ROOM_LEFT:
                break
            path = target / f"part-{number:06d}"
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                made = write_part(folder, pieces[number], stream)
            packed.append({"number": number, "name": path.name, **made})
    except OSError:
        # The disk became full, or cannot be written to: what was packed before is good.
        good = [part["name"] for part in packed]
        for path in target.glob("part-*"):
            if path.name not in good:
                path.unlink()
    return packed


def _content(folder: Path, index: dict[str, Any], number: int) -> dict[str, Any]:
    stream = io.BytesIO()
    made = write_part(folder, pieces_by_part(index)[number], stream)
    return {"number": number, "content": base64.b64encode(stream.getvalue()).decode("ascii"), **made}
