"""What goes to a host before its first run: the program, and the host's part of the plan."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from typing import Any, Iterator


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
                    "container_runtime",
                    "image",
                )
                runs[run["id"]] = {
                    **{name: run[name] for name in keep},
                    "node_rank": member["node_rank"],
                    "nodes": [other["name"] for other in run["hosts"]],
                }
    return {"schema": 1, "host": host, "runs": runs}


def pack_program(roles: str) -> tuple[bytes, str, int]:
    """Returns the program as a compressed archive, the SHA-256 of its content, and the number of files."""
    plain = io.BytesIO()
    count = 0
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in _program_files(roles):
            with open(path, "rb") as stream:
                data = stream.read()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o644
            archive.addfile(info, io.BytesIO(data))
            count += 1
    content = plain.getvalue()
    return gzip.compress(content, 6, mtime=0), hashlib.sha256(content).hexdigest(), count


def _program_files(roles: str) -> Iterator[tuple[str, str]]:
    """Yields name in the archive and path of every file, in a fixed order."""
    files = os.path.join(roles, "deepep_run", "files")
    yield "supervise.py", os.path.join(files, "supervise.py")
    for top, name in (
        (os.path.join(roles, "deepep_common", "module_utils", "deepep_host"), "deepep_host"),
        (os.path.join(files, "deepep_bench"), "deepep_bench"),
    ):
        for folder, folders, names in os.walk(top):
            # Judging is the controller's.
            folders[:] = sorted(entry for entry in folders if entry not in ("__pycache__", "judge"))
            for entry in sorted(names):
                if not entry.endswith(".pyc"):
                    path = os.path.join(folder, entry)
                    yield f"{name}/{os.path.relpath(path, top)}", path
