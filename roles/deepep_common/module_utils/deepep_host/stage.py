"""Puts a session's program and plan slice on this host."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import metadata
from .files import read_json, safe_relative, write_bytes, write_json, write_text
from .lock import lock_path, refuse_if_in_use
from .state import ensure_work_dir, host_dir, resolve_work_dir
from .toml_writer import dumps

_MARK = ".sha256"


def stage(
    configured_work_dir: str,
    run_id: str,
    host: str,
    python: str,
    archive: str,
    sha256: str,
    plan_slice: Mapping[str, Any],
    torch: Mapping[str, Any],
) -> bool:
    """Unpacks the program (tar.gz in base64), writes plan and metadata; returns whether anything changed.

    Raises WorkDirError for a work directory that cannot be used, HostInUse where another session is there,
    ValueError for an archive that is damaged.
    """
    work_dir = resolve_work_dir(configured_work_dir)
    ensure_work_dir(work_dir)
    refuse_if_in_use(lock_path(work_dir, host), run_id)
    base = host_dir(work_dir, run_id, host)
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    changed = _program(base / "program", archive, sha256)
    path = base / "plan.json"
    if read_json(path) != dict(plan_slice):
        # The environment of a test may hold what is nobody else's business.
        write_json(path, dict(plan_slice), mode=0o600)
        changed = True
    facts = base / "metadata.json"
    if not facts.exists():
        write_json(facts, metadata.collect(host, python, torch))
        changed = True
    return changed


def write_metadata(
    base: Path, folder: Path, nodes: Any, ranks_per_host: int, container: Mapping[str, Any] | None = None
) -> None:
    """Writes metadata.toml of one run from what was collected when the host was staged."""
    tables: dict[str, Any] = read_json(base / "metadata.json") or {}
    if container:
        tables.setdefault("host", {})["container_runtime"] = container["runtime"]
        tables["container"] = {
            name: metadata.NULL if container[name] is None else container[name]
            for name in ("runtime", "image", "image_id", "digest", "name", "python")
        }
    tables["slurm"] = metadata.slurm(list(nodes), ranks_per_host)
    write_text(folder / "metadata.toml", dumps(tables))


def _program(target: Path, archive: str, sha256: str) -> bool:
    mark = target / _MARK
    if mark.is_file() and mark.read_text(encoding="ascii") == sha256:
        return False
    content = gzip.decompress(base64.b64decode(archive))
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("the program was damaged on its way to this host")
    fresh = target.with_name(target.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            source = tar.extractfile(member)
            if source is None:
                raise ValueError(f"{member.name!r} in the program is no plain file")
            write_bytes(fresh / safe_relative(member.name), source.read())
    write_text(fresh / _MARK, sha256)
    # Only a session that runs nothing is staged anew: nothing is executed from here now.
    shutil.rmtree(target, ignore_errors=True)
    fresh.replace(target)
    return True
