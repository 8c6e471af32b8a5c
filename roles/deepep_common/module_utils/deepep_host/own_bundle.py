"""A session's own copy of the bundle that it was begun with, below its result tree.

A bundle's folder is compiled anew for other runs or hosts while a session goes on. Whoever stops, watches or
collects the session later must ask its hosts, not those of a plan that came after it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from .files import read_json

FOLDER = Path(".state", "bundles")
MANIFEST = "manifest.json"
RESULTS = "results"
"""Where a bundle's sessions are, unless the user names another folder."""
_NOT_LINKED = frozenset({MANIFEST, RESULTS, "__pycache__"})


def own_bundle(session: Path) -> Path:
    """Returns where the own bundle of the session in that directory lies."""
    return session / FOLDER / "whole"


def part_bundle(session: Path) -> Path:
    """Returns where the bundle of those runs lies that are repeated when the session is resumed."""
    return session / FOLDER / "part"


def session_of(bundle: Path) -> Path | None:
    """Returns the directory of the session whose own bundle this is; None for any other bundle."""
    above = list(bundle.parents)
    session = above[len(FOLDER.parts)] if len(above) > len(FOLDER.parts) else bundle
    return session if own_bundle(session) == bundle else None


def keep_bundle(bundle: Path, session: Path) -> None:
    """Copies ``bundle`` to be the session's own. Nothing is done where it is that, or has no manifest."""
    target = own_bundle(session.resolve())
    files = _files(bundle)
    if not files or target == bundle.resolve():
        return
    fresh = target.with_name(f".{target.name}")
    for left in (fresh, target):
        shutil.rmtree(str(left), ignore_errors=True)
    for name in (*files, MANIFEST):
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(bundle / name), str(path))
    fresh.rename(target)
    link_additions(bundle, target)


def link_additions(bundle: Path, target: Path) -> None:
    """Links from ``target`` to what a user has added to ``bundle``: ``group_vars/``, plugins, keys.

    Not copied: there may be secrets among it, and result trees are given away.
    """
    _link(bundle, target, set(_files(bundle)))


def hold(bundle: Path) -> int | None:
    """Marks a bundle as being played by this process, until it ends or closes what is returned.

    None where that cannot be marked.
    """
    try:
        handle = os.open(str(bundle / MANIFEST), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def is_played(bundle: Path) -> bool:
    """Tells whether another process plays a bundle at this moment, as far as can be seen from here."""
    try:
        handle = os.open(str(bundle / MANIFEST), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def _files(bundle: Path) -> dict[str, Any]:
    files = (read_json(bundle / MANIFEST) or {}).get("files")
    return files if isinstance(files, dict) else {}


def _link(source: Path, target: Path, ours: Collection[str]) -> None:
    folders = {name.split("/")[0] for name in ours if "/" in name}
    for path in sorted(source.iterdir()) if source.is_dir() else ():
        if path.name in ours or path.name in _NOT_LINKED:
            continue
        if path.name in folders:
            below = {name.partition("/")[2] for name in ours if name.startswith(f"{path.name}/")}
            _link(path, target / path.name, below)
        elif not os.path.lexists(str(target / path.name)):
            (target / path.name).symlink_to(path.resolve())
