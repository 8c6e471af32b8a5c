"""Container images for tests, a few kilobytes each: made without a network, with /usr mounted into them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.cluster.machine import Host

MOUNTS = ("/usr:/usr:ro",)
"""Mounts that give an image of ``frame`` a Python, a shell and their libraries."""

TORCH = (Path(__file__).resolve().parents[2] / ".venv-torch").resolve()
TORCH_MOUNTS = (
    *MOUNTS,
    *(f"{path}:{path}:ro" for path in (TORCH, (TORCH / "bin" / "python").resolve().parents[1])),
)
"""Mounts that give it an interpreter with torch too, which would be a gigabyte of the image."""

ARCHIVE = "/srv/image.tar"
"""Where ``put`` leaves an image on a host."""

_FOLDERS = (
    "dev",
    "etc",
    "home",
    "opt",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr",
    "var",
    "var/tmp",
    "work",
    "workspace",
)
_LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}


def frame(
    path: Path,
    name: str,
    files: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    entrypoint: list[str] | None = None,
    user: str = "",
    workdir: str = "/",
) -> str:
    """Writes a docker archive with a root file system that lacks only /usr; returns the image's id.

    ``files`` maps absolute paths to texts, which are executable.
    """
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        for folder in _FOLDERS:
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if folder in ("tmp", "var/tmp") else 0o755
            archive.addfile(info)
        for link, target in _LINKS.items():
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
        for file, text in (files or {}).items():
            info, data = tarfile.TarInfo(file.lstrip("/")), text.encode()
            info.size, info.mode = len(data), 0o755
            archive.addfile(info, io.BytesIO(data))
    layer_data = layer.getvalue()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Env": [f"{key}={value}" for key, value in {"PATH": "/usr/bin:/bin", **(env or {})}.items()],
                "Entrypoint": entrypoint,
                "Cmd": ["/bin/sh"],
                "User": user,
                "WorkingDir": workdir,
            },
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer_data)]},
            "history": [{"created": "1970-01-01T00:00:00Z"}],
        }
    ).encode()
    image = _digest(config)
    manifest = [{"Config": f"{image[7:]}.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        for file, data in (
            ("layer.tar", layer_data),
            (f"{image[7:]}.json", config),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            info = tarfile.TarInfo(file)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return image


def put(hosts: Iterable[Host], folder: Path, **how: Any) -> str:
    """Puts an image of ``frame`` on hosts as an archive of docker save; returns its id."""
    image = frame(folder / "image.tar", "team/deepep:1", **how)
    for host in hosts:
        host.root(ARCHIVE).write_bytes((folder / "image.tar").read_bytes())
    return image


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
