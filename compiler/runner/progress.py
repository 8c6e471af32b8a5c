"""Shows what a run is doing: one line that changes on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from typing import TextIO

from compiler.runner.events import Event


@dataclass(slots=True)
class _Run:
    key: str
    limit_s: float | None
    started: float
    phases: dict[str, str] = field(default_factory=dict)
    detail: str = ""


class Progress:
    """Renders events of :mod:`compiler.runner.events`; ``tick`` keeps the elapsed time moving."""

    def __init__(self, out: TextIO, total_runs: int) -> None:
        self._out = out
        self._live = out.isatty()
        self._total = total_runs
        self._seen: dict[str, _Run] = {}
        self._current: _Run | None = None
        self._stage = ""
        self._begun = time.monotonic()

    def event(self, event: Event) -> None:
        """Takes one event."""
        kind, run, host = str(event.get("event", "")), event.get("run"), str(event.get("host", ""))
        if not isinstance(run, str):
            text = str(event.get("text") or event.get("phase") or kind)
            if (
                kind in ("session", "preflight", "stage", "cleanup", "warning", "close")
                and text != self._stage
            ):
                self._stage = text
                self._line(f"{'' if kind in ('warning', 'preflight') else kind + ': '}{text}")
            return
        state = self._seen.get(run)
        if state is None:
            limit = event.get("limit_s")
            number = float(limit) if isinstance(limit, int | float) else None
            state = self._seen[run] = _Run(run, number, time.monotonic())
        self._current = state
        if kind == "phase":
            self._phase(state, host, event)
        elif kind == "verdict":
            text = str(event.get("text") or "")
            self._line(f"{self._head(state)} {event.get('verdict')}{': ' + text if text else ''}")
            self._current = None
        elif kind in ("start", "ended", "collect"):
            self._phase(state, host, {**event, "phase": "collect" if kind == "collect" else kind})

    def _phase(self, state: _Run, host: str, event: Event) -> None:
        phase = str(event.get("phase", ""))
        state.detail = f"{phase} {_detail(event.get('progress'))}".rstrip()
        changed = state.phases.get(host) != phase and phase not in state.phases.values()
        state.phases[host] = phase
        if changed and not self._live:
            self._line(f"{self._head(state)} {phase}")

    def _head(self, state: _Run) -> str:
        number = list(self._seen).index(state.key) + 1
        return f"[{number}/{self._total}] {state.key}"

    def tick(self) -> None:
        """Draws the changing line again (terminal only)."""
        if not self._live:
            return
        elapsed = time.monotonic() - self._begun
        text = f"{self._stage} · {elapsed:.0f} s"
        if state := self._current:
            spent = time.monotonic() - state.started
            limit = f" of {state.limit_s:.0f} s" if state.limit_s else ""
            hosts = ", ".join(f"{host}: {phase}" for host, phase in state.phases.items() if host)
            text = f"{self._head(state)} {state.detail} · {spent:.0f}{limit} · {hosts}"
        width = shutil.get_terminal_size().columns - 1
        self._out.write(f"\r\x1b[K{text[:width]}")
        self._out.flush()

    def clear(self) -> None:
        """Takes the changing line away, so that other output starts on a clean line."""
        if self._live:
            self._out.write("\r\x1b[K")
        self._out.flush()

    def _line(self, text: str) -> None:
        self.clear()
        self._out.write(f"{text}\n")
        self._out.flush()


def _detail(progress: object) -> str:
    if not isinstance(progress, dict):
        return ""
    total = progress.get("total")
    count = f" {progress.get('done')}/{total}" if total else ""
    return f"{progress.get('operation') or ''}{count}".strip()
