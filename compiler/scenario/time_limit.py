"""Reads ``time_limit``: Slurm's forms and CloudAI's, except where the two disagree."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST_S = 366 * 86400
DEFAULT_S = 3600

FORMS = 'HH:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS, minutes ("30"), or a number with s, m, h, d or w ("45m")'

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
# Patterns are compiled at first use: most calls of the compiler need one of them, if any.
_UNIT_FORM = r"([0-9]+)([smhdw])"
_MINUTES = r"[0-9]+"
_AMBIGUOUS = r"([0-9]+):([0-9]+)"
_CLOCK = r"(?:([0-9]+)-)?([0-9]+):([0-9]+):([0-9]+)"
_DAYS = r"([0-9]+)-([0-9]+)(?::([0-9]+))?"
_COMPOUND = r"\s*".join(rf"(?:([0-9]{{1,6}})\s*{unit}[a-z]*)?" for unit in "dhms")


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a time limit is refused. ``readings`` are (who, seconds) where there is more than one."""

    reason: str
    fix: str
    readings: tuple[tuple[str, int], ...] = ()


def parse_time_limit(text: str) -> int | Refused:
    """Returns seconds, or why there are none. NN:NN is refused: Slurm and CloudAI read it differently."""
    found = _parse(text)
    if isinstance(found, Refused):
        return found
    if found == 0:
        return Refused(
            "a run needs some time", f"write at least one second; without time_limit it is {clock(DEFAULT_S)}"
        )
    if found > LONGEST_S:
        return Refused("longer than 366 days", "write a shorter time")
    return found


def clock(seconds: int) -> str:
    """Returns ``[D-]HH:MM:SS``."""
    days, rest = divmod(seconds, 86400)
    text = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{text}" if days else text


def _parse(text: str) -> int | Refused:
    if len(text) > 32:
        return Refused("too long", f"write {FORMS}")
    if found := re.fullmatch(_UNIT_FORM, text):
        return int(found[1]) * _UNITS[found[2]]
    if re.fullmatch(_MINUTES, text):
        return int(text) * 60
    if found := re.fullmatch(_AMBIGUOUS, text):
        return _ambiguous(int(found[1]), int(found[2]))
    if found := re.fullmatch(_CLOCK, text):
        return _sum(found[1], found[2], found[3], found[4])
    if found := re.fullmatch(_DAYS, text):
        return _sum(found[1], found[2], found[3], None)
    return Refused("not a time", _guess(text))


def _sum(days: str | None, hours: str, minutes: str | None, seconds: str | None) -> int | Refused:
    d, h, m, s = (int(part or 0) for part in (days, hours, minutes, seconds))
    total = ((d * 24 + h) * 60 + m) * 60 + s
    for value, limit, unit in (
        (m, 60, "minutes"),
        (s, 60, "seconds"),
        (h, 24 if days is not None else None, "hours"),
    ):
        if limit is not None and value >= limit:
            fix = f'write "{clock(total)}" if that is meant' if 0 < total <= LONGEST_S else f"write {FORMS}"
            return Refused(f"{value} {unit} are more than {limit - 1}", fix)
    return total


def _ambiguous(first: int, second: int) -> int | Refused:
    if second > 59:
        return Refused(f"neither {second} minutes nor {second} seconds are possible", "write HH:MM:SS")
    if not first and not second:
        return 0
    slurm, cloudai = first * 60 + second, (first * 60 + second) * 60
    readings = (("Slurm", slurm), ("CloudAI", cloudai))
    fix = (
        f'write "{clock(slurm)}" for {first} min {second} s, or "{clock(cloudai)}" for {first} h {second} min'
    )
    reason = f"Slurm reads {first} minutes {second} seconds, CloudAI {first} hours {second} minutes"
    return Refused(reason, fix, readings)


def _guess(text: str) -> str:
    folded = text.strip().lower()
    if folded in {"unlimited", "infinite", "none", "-1"}:
        return f'every run has a deadline; write a long one, e.g. "{clock(86400)}"'
    if folded != text and not isinstance(_parse(folded), Refused):
        return f'write "{folded}"'
    found = re.fullmatch(_COMPOUND, folded)
    if found and any(found.groups()):
        d, h, m, s = (int(part or 0) for part in found.groups())
        return f'write "{clock(((d * 24 + h) * 60 + m) * 60 + s)}"'
    return f"write {FORMS}"
