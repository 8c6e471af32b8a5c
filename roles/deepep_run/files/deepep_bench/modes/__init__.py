"""The two modes, by name."""

from __future__ import annotations

from .base import Mode
from .low_latency import LowLatencyMode
from .standard import StandardMode

MODES: dict[str, type[Mode]] = {"standard": StandardMode, "low_latency": LowLatencyMode}
