"""Finds the roles, playbooks and schemas: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


@cache
def resource(name: str) -> Path:
    """Returns the directory of one top-level resource: ``roles``, ``playbooks``, ``schemas`` and so on.

    Raises FileNotFoundError when the installation lacks it.
    """
    for base in (_PACKAGE / "_resources", _PACKAGE.parent):
        path = base / name
        if path.is_dir():
            return path
    raise FileNotFoundError(
        f"this installation of deepep-compiler lacks its folder {name!r}: install it again"
    )


@cache
def host_code() -> Path:
    """Makes ``deepep_host``, the package that runs on hosts and judges results, importable here too."""
    return _importable(resource("roles") / "deepep_common" / "module_utils")


@cache
def program_code() -> Path:
    """Makes ``deepep_bench`` importable: what the benchmark program knows of DeepEP's kernels."""
    return _importable(resource("roles") / "deepep_run" / "files")


def _importable(path: Path) -> Path:
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))
    return path
