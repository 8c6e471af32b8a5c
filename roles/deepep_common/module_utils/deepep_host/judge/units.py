"""Figures with units, for people."""

from __future__ import annotations

from typing import Any


def bandwidth(gb_per_s: Any) -> str:
    """Returns a bandwidth given in GB/s, or ``-``."""
    return f"{significant(gb_per_s)} GB/s" if isinstance(gb_per_s, (int, float)) else "-"


def duration(seconds: Any, micro: str = "us") -> str:
    """Returns a time with a unit that suits it (s, ms or ``micro``), or ``-``."""
    if not isinstance(seconds, (int, float)):
        return "-"
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, micro)):
        if seconds * factor >= 1 or unit == micro:
            break
    return f"{significant(seconds * factor)} {unit}"


def significant(value: float) -> str:
    """Returns a figure with three to four significant digits, without an exponent where it can."""
    if value == 0 or not 1e-4 <= abs(value) < 1e6:
        return f"{value:.3g}"
    if abs(value) >= 100:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"
