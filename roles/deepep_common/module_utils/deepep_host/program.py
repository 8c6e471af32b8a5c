"""What goes to a host before its first run: the program, and the host's part of the plan."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def host_slice(plan: dict[str, Any], host: str) -> dict[str, Any]:
    """Returns what one host has to know of the plan: its own runs, without the test they came from."""
    runs: dict[str, Any] = {}
    for run in plan["runs"]:
        for member in run["hosts"]:
            if member["name"] == host:
                keep = (
                    "id",
                    "ranks_per_host",
                    "config",
                    "env",
                    "argv",
                    "time_limit_s",
                    "program",
                    "container_runtime",
                    "image",
                    "container",
                    "mounts",
                )
                runs[run["id"]] = {
                    **{name: run[name] for name in keep},
                    "node_rank": member["node_rank"],
                    "nodes": [other["name"] for other in run["hosts"]],
                }
    return {"schema": 1, "host": host, "runs": runs}


def pack_program(roles: Path) -> tuple[bytes, str, int]:
    """Returns the program as a compressed archive, the SHA-256 of its content, and the number of files."""
    plain = io.BytesIO()
    count = 0
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in _program_files(roles):
            data = path.read_bytes()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o644
            archive.addfile(info, io.BytesIO(data))
            count += 1
    content = plain.getvalue()
    return gzip.compress(content, 6, mtime=0), hashlib.sha256(content).hexdigest(), count


def _program_files(roles: Path) -> Iterator[tuple[str, Path]]:
    """Yields name in the archive and path of every file, in a fixed order."""
    files = roles / "deepep_run" / "files"
    for name in ("supervise.py", "enter.py", "slurm_task.py", "verb.py"):
        yield name, files / name
    yield "image_agent.py", roles / "deepep_image" / "files" / "image_agent.py"
    for top in (roles / "deepep_common" / "module_utils" / "deepep_host", files / "deepep_bench"):
        for path in sorted(top.rglob("*")):
            parts = path.relative_to(top).parts
            # Judging is the controller's; hosts are examined before anything is put there.
            if parts[0] in ("judge", "preflight"):
                continue
            # What Python caches may be half written, under a name of its own.
            if "__pycache__" not in parts and path.suffix != ".pyc" and path.is_file():
                yield "/".join([top.name, *parts]), path
