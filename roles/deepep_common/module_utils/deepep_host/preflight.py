"""Whether a host can take part at all: a handful of read-only checks, each with its way out."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import metadata
from .rendezvous import RendezvousError, interface_address
from .state import WorkDirError, ensure_work_dir

PASS, WARN, FAIL = "pass", "warn", "fail"


def check(name: str, result: str, text: str, remedy: str = "") -> dict[str, Any]:
    """Returns one line of a preflight."""
    return {"name": name, "result": result, "text": text, "remedy": remedy}


def worst(checks: list[dict[str, Any]]) -> str:
    """Returns the worst result of all checks."""
    results = {entry["result"] for entry in checks}
    return FAIL if FAIL in results else WARN if WARN in results else PASS


def examine(wanted: Mapping[str, Any], controller_time: float, read_only: bool) -> dict[str, Any]:
    """Returns ``{"result", "checks", "torch"}`` for this host.

    ``wanted`` has work_dir, python (empty: no torch wanted here), master_interface, min_free_mib,
    max_clock_skew_s. With ``read_only`` not even the work directory is created.
    """
    torch = metadata.ask_torch(wanted["python"]) if wanted["python"] else {}
    checks = [
        _python(),
        _torch(wanted["python"], torch),
        _work_dir(wanted["work_dir"], int(wanted["min_free_mib"]), read_only),
        _interface(wanted.get("master_interface")),
        _clock(controller_time, float(wanted["max_clock_skew_s"])),
    ]
    return {"result": worst(checks), "checks": checks, "torch": torch}


def _python() -> dict[str, Any]:
    version = ".".join(map(str, sys.version_info[:3]))
    return check("python", PASS, f"Python {version} at {sys.executable}")


def _torch(python: str, torch: Mapping[str, Any]) -> dict[str, Any]:
    if not python:
        return check("torch", PASS, "not needed outside the container")
    if "error" in torch:
        return check("torch", FAIL, f"{python} cannot import torch: {torch['error']}",
                     "install torch there, or set deepep_python to an interpreter that has it")  # fmt: skip
    return check("torch", PASS, f"torch {torch['version']} at {python}, {torch['gpus']} GPUs")


def _work_dir(path: Path, min_free_mib: int, read_only: bool) -> dict[str, Any]:
    try:
        if not read_only:
            ensure_work_dir(path)
    except WorkDirError as error:
        return check("work_dir", FAIL, str(error), "set deepep_work_dir to a directory of your own")
    nearest = path
    while not nearest.is_dir():
        nearest = nearest.parent
    if not os.access(nearest, os.W_OK | os.X_OK):
        return check(
            "work_dir", FAIL, f"{nearest} cannot be written", "set deepep_work_dir to a writable directory"
        )
    free = shutil.disk_usage(nearest).free // (1024 * 1024)
    if free < min_free_mib:
        remedy = "make room, set deepep_work_dir elsewhere, or lower deepep_preflight_min_free_mib"
        return check("work_dir", FAIL, f"{path} has {free} MiB free, {min_free_mib} MiB are wanted", remedy)
    return check("work_dir", PASS, f"{path}, {free} MiB free")


def _interface(name: str | None) -> dict[str, Any]:
    if not name:
        return check("master_interface", PASS, "none named: the address is found by itself")
    try:
        return check("master_interface", PASS, f"{name} has {interface_address(name)}")
    except RendezvousError as error:
        return check("master_interface", FAIL, str(error), "set deepep_master_interface to one that exists")


def _clock(controller_time: float, limit_s: float) -> dict[str, Any]:
    # The way here takes time too: only what is behind the controller, or far ahead of it, is surely wrong.
    skew = time.time() - controller_time
    if abs(skew) > limit_s:
        return check("clock", WARN, f"the clock differs from the controller's by {skew:+.0f} s",
                     "start NTP: times of different hosts cannot be compared")  # fmt: skip
    return check("clock", PASS, f"within {limit_s:.0f} s of the controller's")
