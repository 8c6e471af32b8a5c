"""How far a host's clock may be from the controller's, without trusting the way between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .model import PASS, WARN, entry


def bounds(sent: float, answered: float, times: Sequence[float]) -> tuple[float, float]:
    """Returns the least and the most by which the host may be ahead of the controller, in seconds.

    The host looked at its clock after the controller sent and before it got the answer: ``times[0]`` was
    taken not before ``sent``, ``times[1]`` not after ``answered``.
    """
    return round(times[1] - answered, 3), round(times[0] - sent, 3)


def check(found: tuple[float, float], limit_s: float, remedy: str) -> dict[str, Any]:
    """Returns the preflight's line: a warning where the clocks surely differ by more than ``limit_s``."""
    low, high = found
    if low > limit_s:
        return entry("clock", WARN, f"at least {low:.1f} s ahead of the controller", remedy)
    if high < -limit_s:
        return entry("clock", WARN, f"at least {-high:.1f} s behind the controller", remedy)
    return entry("clock", PASS, f"between {low:+.1f} and {high:+.1f} s from the controller's")
