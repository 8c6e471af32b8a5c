"""Asks a host everything that its runs need to know."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .. import metadata
from ..state import WorkDirError, ensure_work_dir
from .catalogue import CHECKS
from .facts import facts
from .machine import Machine, Wanted, read_wanted
from .model import FAIL, UNKNOWN, WARN, Check, Outcome, entry, worst
from .probe import Probe


def examine(given: Mapping[str, Any], probe: Probe, create: bool = False) -> dict[str, Any]:
    """Returns ``{"result", "checks", "not_needed", "facts", "torch", "seconds",
    "times"}`` for one host; ``times`` are its clock at the beginning and at the end.

    ``given``: see :class:`.machine.Wanted`. With ``create`` a missing work directory is made, else nothing on
    the host is changed.
    """
    began, at = time.monotonic(), probe.now()
    wanted = read_wanted(given)
    machine = Machine(probe, wanted)
    with ThreadPoolExecutor(1) as pool:
        # Importing torch takes longer than everything else together.
        torch = pool.submit(metadata.ask_torch, wanted.python) if _asks_torch(wanted, probe) else None
        machine.prepare()
        machine.torch = torch.result() if torch else {}
    lines = [line for line in (_check(check, machine, wanted) for check in CHECKS) if line]
    if create:
        _create(wanted, lines)
    return {
        "result": worst(lines),
        "checks": lines,
        "not_needed": [
            check.name for check in CHECKS if not wanted.needs.intersection(check.needs + check.soft)
        ],
        "facts": _facts(machine),
        "torch": machine.torch,
        "seconds": round(time.monotonic() - began, 3),
        "times": [at, probe.now()],
    }


def _facts(machine: Machine) -> dict[str, Any]:
    try:
        return facts(machine)
    except Exception as error:  # as for the checks, which say what it was
        return {"hostname": machine.probe.hostname(), "problem": f"{type(error).__name__}: {error}"}


def _asks_torch(wanted: Wanted, probe: Probe) -> bool:
    return bool("torch" in wanted.needs and wanted.python and type(probe).__name__ != "Recorded")


def _check(check: Check, machine: Machine, wanted: Wanted) -> dict[str, Any] | None:
    hard, soft = wanted.needs.intersection(check.needs), wanted.needs.intersection(check.soft)
    if not hard and not soft:
        return None
    try:
        outcome = check.ask(machine, wanted)
    except Exception as error:  # a machine that we have never seen must not stop the other checks
        outcome = Outcome(UNKNOWN, f"not checked: {type(error).__name__}: {error}", "please report this")
    result = WARN if outcome.result == FAIL and not hard else outcome.result
    remedy = outcome.remedy or check.remedy if result in (FAIL, WARN) else outcome.remedy
    return entry(check.name, result, outcome.text, remedy, check.item, sorted(check.needs))


def _create(wanted: Wanted, lines: list[dict[str, Any]]) -> None:
    line = next(line for line in lines if line["name"] == "work_dir")
    if line["result"] == FAIL:
        return
    try:
        ensure_work_dir(Path(wanted.work_dir))
    except WorkDirError as error:
        line.update(result=FAIL, text=str(error), remedy="set deepep_work_dir to a directory of your own")
