"""What a session's preflight and self-tests found, for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from compiler.resources import host_code

SUMMARY = "preflight.json"


def text_of(session: Path) -> str | None:
    """Returns the table, which runs could not start, and where the findings are; None without a preflight."""
    whole = _read(session / SUMMARY)
    if whole is None:
        return None
    host_code()
    from deepep_host.preflight import table

    found = {host: _read(session / "preflight" / f"{host}.json") for host in whole["hosts"]}
    known = {host: said for host, said in found.items() if said is not None}
    lines = table(known, whole["across"])
    lines += [f"{run} could not start: {reason}" for run, reason in whole.get("refused", {}).items()]
    return "\n".join([*lines, f"findings: {session / SUMMARY}, {session / 'preflight'}"])


def selftest_text(session: Path) -> str | None:
    """Returns what comparing the hosts' self-tests gave; None where there were none."""
    found = _read(session / "selftest.json")
    if found is None:
        return None
    host_code()
    from deepep_host.selftest import lines

    return "\n".join(lines(found))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
