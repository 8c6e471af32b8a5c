"""Where DeepEP V2 keeps the kernels that it compiles, where nobody said so.

Its own default is the home directory, which hosts may share: slow, and corrupt where versions or GPUs mix.
In containers the launcher names a directory per image; on bare hosts this module does.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import MutableMapping

VARIABLE = "EP_JIT_CACHE_DIR"


def settle(
    version: str, architecture: str, environ: MutableMapping[str, str], root: Path | None = None
) -> str | None:
    """Set the variable to a directory of this user, version and architecture on this host's own disk; a
    sentence for the record when it was set. Nothing where it is set already, or where somebody else could
    write there: what lies in the cache is run."""
    if VARIABLE in environ:
        return None
    top = (root or Path(tempfile.gettempdir())) / f"deepep-jit-{os.getuid()}"
    folder = top / re.sub(r"[^A-Za-z0-9.+_-]+", "-", f"{version}-{architecture}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not all(_is_own(each) for each in (top, folder)):
            return None
    except OSError:
        return None
    environ[VARIABLE] = str(folder)
    return f"{VARIABLE}={folder} was set: kernels are compiled once per host, version and architecture"


def _is_own(folder: Path) -> bool:
    """A real directory of this user that nobody else may write."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    found = folder.stat()
    return found.st_uid == os.getuid() and not found.st_mode & 0o022
