"""Registry credentials on a host: rendered for a runtime into memory, for one command, and removed again.

A directory of the run's own on a file system in memory (``/run/user/UID``, else ``/dev/shm``), mode 0700, its
files 0600. Its name holds the run and the process that uses it, so that leftovers of a killed run can be told
from what is in use. Files of the user's are never read or changed here.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .files import SAFE_NAME, write_bytes
from .processes import Identity, boot_id, identify, is_alive
from .reference import DOCKER_HUB
from .registry import Login

_PREFIX = "deepep-credentials-"
_NAME = re.compile(r"deepep-credentials-(?P<run>[A-Za-z0-9_][A-Za-z0-9._-]*)-(?P<pid>\d+)-(?P<ticks>\d+)")
_IN_MEMORY = ("tmpfs", "ramfs")
_PLAIN = re.compile(r"[!-~]+")
_SHELL = re.compile(r"[*?\[\\]")
SECRET_VARIABLE = "DEEPEP_REGISTRY_SECRET"  # noqa: S105 - a name
"""In the environment of enroot alone, where its file cannot hold a password literally."""


class CredentialError(Exception):
    """Credentials cannot be given to a runtime; the text says why and what to do, and never shows them."""


def folders() -> list[Path]:
    """Returns where credentials may lie on this host: only file systems in memory, best first."""
    kinds = _mounts()
    found = []
    for path in (Path(f"/run/user/{os.geteuid()}"), Path("/dev/shm")):  # noqa: S108 - the directory is ours, 0700
        if path.is_dir() and os.access(path, os.W_OK | os.X_OK) and _kind(path, kinds) in _IN_MEMORY:
            found.append(path)
    return found


@contextmanager
def private_directory(run_id: str) -> Iterator[Path]:
    """A directory in memory for one command of a run, gone afterwards. Raises CredentialError."""
    if not SAFE_NAME.match(run_id):
        raise ValueError(f"{run_id!r} is not the id of a session")
    places = folders()
    if not places:
        raise CredentialError(
            "this host has no file system in memory (/dev/shm or /run/user) for credentials: mount a "
            "tmpfs at "
            "/dev/shm"
        )
    me = identify(os.getpid())
    folder = places[0] / f"{_PREFIX}{run_id}-{me.pid}-{me.start_ticks}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        _wipe(folder)


def remove(run_id: str = "", dry: bool = False) -> list[str]:
    """Removes what killed runs left: of session ``run_id``, or of every process that is gone where empty.

    Returns the directories. Those of other users stay; nobody else's can be removed.
    """
    removed = []
    for place in folders():
        for path in sorted(place.glob(_PREFIX + "*")):
            match = _NAME.fullmatch(path.name)
            if match is None or not _ours(path):
                continue
            owner = Identity(int(match.group("pid")), int(match.group("ticks")), boot_id())
            if match.group("run") != run_id and is_alive(owner):
                continue
            removed.append(str(path))
            if not dry:
                _wipe(path)
    return removed


def docker_config(folder: Path, logins: Mapping[str, Login]) -> Path:
    """Writes a ``config.json`` for docker (``docker --config DIR``) and podman (``--authfile``)."""
    auths: dict[str, Any] = {}
    for registry, login in logins.items():
        if not login.known:
            continue
        entry: dict[str, str] = {}
        if login.identity:
            entry["auth"] = base64.b64encode(f"{login.user or '<token>'}:".encode()).decode("ascii")
            entry["identitytoken"] = login.secret
        else:
            entry["auth"] = base64.b64encode(f"{login.user}:{login.secret}".encode()).decode("ascii")
        # Both tools still know Docker Hub by the address of its first API.
        auths["https://index.docker.io/v1/" if registry == DOCKER_HUB else registry] = entry
    path = folder / "config.json"
    write_bytes(path, json.dumps({"auths": auths}).encode("ascii"), mode=0o600)
    return path


def enroot_credentials(
    folder: Path, registry: str, login: Login, auth_host: str | None
) -> tuple[Path, dict[str, str]]:
    """Writes enroot's ``.credentials``; returns it and what its environment needs beside.

    enroot (src/docker.sh, src/common.sh) looks the registry up without its port; curl then reads the file as
    netrc by the host of the *token service*, so that one needs a line too (nvcr.io and authn.nvidia.com are
    the known case); and a password that starts with ``$`` is expanded by a shell. Raises CredentialError.
    """
    path = folder / ".credentials"
    if not login.known:
        write_bytes(path, b"", mode=0o600)
        return path, {}
    if login.identity:
        raise CredentialError(
            f"enroot cannot use the OAuth login of {registry} (from {login.source}): give it a user "
            f"name and an "
            "access token in deepep_registries"
        )
    host = "registry-1.docker.io" if registry == DOCKER_HUB else re.sub(r":\d+$", "", registry)
    secret, environment = login.secret, {}
    if not _PLAIN.fullmatch(secret) or secret.startswith('"') or not _PLAIN.fullmatch(login.user or " "):
        raise CredentialError(
            f"enroot cannot read the user name or password for {registry} (from {login.source}): its "
            f"file has no "
            "way to write spaces, quotes at the beginning, or letters beyond ASCII; make an access "
            "token without"
        )
    if secret.startswith("$"):
        if _SHELL.search(secret):
            raise CredentialError(
                f"the password for {registry} (from {login.source}) starts with $, which enroot has a shell "
                "expand, and holds * ? [ or \\, which that shell would change: make another access token"
            )
        secret, environment = f"${SECRET_VARIABLE}", {SECRET_VARIABLE: login.secret}
    hosts = dict.fromkeys([host, *([auth_host] if auth_host else [])])
    text = "".join(f"machine {name} login {login.user} password {secret}\n" for name in hosts)
    write_bytes(path, text.encode("ascii"), mode=0o600)
    return path, environment


def _wipe(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            try:
                path.write_bytes(b"\0" * path.stat().st_size)
            except OSError:
                continue
    shutil.rmtree(folder, ignore_errors=True)


def _ours(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _mounts() -> dict[str, str]:
    kinds: dict[str, str] = {}
    try:
        text = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return kinds
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > 2:
            kinds[fields[1]] = fields[2]
    return kinds


def _kind(path: Path, kinds: Mapping[str, str]) -> str:
    for candidate in (path, *path.parents):
        if str(candidate) in kinds:
            return kinds[str(candidate)]
    return ""
