"""Shows what a session is doing: one line that changes on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TextIO

from compiler.runner.events import Event


@dataclass(slots=True)
class _Run:
    number: int
    started: float
    phases: dict[str, str] = field(default_factory=dict)
    shown: set[str] = field(default_factory=set)
    detail: str = ""


class Progress:
    """Renders the events of one session. ``limits_s``: the time limit of every run, in the plan's order."""

    def __init__(self, out: TextIO, limits_s: Mapping[str, float]) -> None:
        self._out = out
        self._live = out.isatty()
        self._limits = limits_s
        self._runs: dict[str, _Run] = {}
        self._current = ""
        self._doing = "starting Ansible"
        self._told: set[str] = set()
        self._images: dict[str, set[str]] = {}
        self._begun = time.monotonic()

    def event(self, event: Event) -> None:
        """Takes one event; what is unknown is passed over."""
        run = event.get("run")
        if isinstance(run, str):
            self._of_run(run, event)
        else:
            self._of_session(event)

    def _of_session(self, event: Event) -> None:
        host = event.get("host")
        match event.get("event"):
            case "task":
                self._doing = str(event.get("play") or self._doing)
                if event.get("status"):
                    self._line(f"{host}: {event.get('status')}: {event.get('message') or ''}")
            case "preflight":
                self._once("hosts examined")
                if event.get("result") != "pass":
                    self._line(f"{host}: preflight {event.get('result')} (preflight/{host}.json)")
            case "stage":
                self._once("program staged")
                if event.get("problem"):
                    self._line(f"{host}: {event.get('problem')}")
                self._expired(host, event)
            case "image":
                self._image(str(host), event)
            case "secret_scan":
                hits = event.get("hits")
                for hit in hits if isinstance(hits, list) else ():
                    self._line(
                        f"a secret of {hit.get('registry')} was in {hit.get('file')} and was removed there"
                    )
            case "selftest":
                self._line(_selftest(event))
            case "cleanup":
                self._once("hosts cleaned up")
                if event.get("kept"):
                    self._line(f"{host}: not collected, kept there: {event.get('kept')}")
                self._expired(host, event)

    def _image(self, host: str, event: Event) -> None:
        reference, phase, total = event.get("reference"), event.get("phase"), event.get("total")
        match phase:
            case "decided" | "refused":
                self._once(f"image {reference}: {event.get('problem') or event.get('digest') or 'a file'}")
            case "failed" | "lost":
                self._line(f"{host}: image {reference}: {event.get('problem')}")
            case "ready":
                hosts = self._images.setdefault(str(reference), set())
                hosts.add(host)
                self._doing = f"image {reference}: on {len(hosts)} host{'' if len(hosts) == 1 else 's'}"
            case _:
                done = event.get("done")
                if isinstance(done, int | float) and isinstance(total, int | float):
                    amount = f"{done / 1e6:.0f} of {total / 1e6:.0f} MB"
                    self._doing = f"image {reference}: {host} {phase}, {amount}"

    def _expired(self, host: object, event: Event) -> None:
        gone = event.get("expired")
        for text in gone if isinstance(gone, list) else ():
            self._line(f"{host}: removed for its age {text}")

    def _of_run(self, key: str, event: Event) -> None:
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = _Run(len(self._runs) + 1, time.monotonic())
        host = str(event.get("host") or "")
        match event.get("event"):
            case "verdict":
                self._line(f"{self._head(key)} {event.get('verdict')}")
                self._current = ""
            case "skip":
                self._line(f"{self._head(key)} not started: {event.get('reason')}")
            case "phase":
                self._phase(key, host, str(event.get("phase")), _detail(event.get("progress")))
            case "start" | "rendezvous" | "collect" as kind:
                self._phase(key, host, kind, "")
            case "collecting":
                done, whole = event.get("done"), event.get("total")
                if isinstance(done, int | float) and isinstance(whole, int | float):
                    self._phase(key, host, "collect", f"{done / 1e6:.0f} of {whole / 1e6:.0f} MB")
            case "ended":
                code = event.get("exit_code")
                ended = str(event.get("outcome")) + (f" with {code}" if code else "")
                if event.get("outcome") != "exited" or code:
                    self._line(f"{self._head(key)} {host}: {ended}: {event.get('cause') or ''}")
                self._phase(key, host, "ended", "")

    def _phase(self, key: str, host: str, phase: str, detail: str) -> None:
        run = self._runs[key]
        self._current = key
        run.detail = f"{phase} {detail}".rstrip()
        run.phases[host] = phase
        if phase not in run.shown and not self._live:
            run.shown.add(phase)
            self._line(f"{self._head(key)} {phase} ({self._time(key)})")

    def tick(self) -> None:
        """Draws the changing line again; elsewhere than on a terminal there is none."""
        if not self._live:
            return
        text = f"{self._doing} · {time.monotonic() - self._begun:.0f} s"
        if self._current:
            run = self._runs[self._current]
            hosts = ", ".join(f"{host}: {phase}" for host, phase in run.phases.items() if host)
            text = f"{self._head(self._current)} {run.detail} · {self._time(self._current)} · {hosts}"
        width = shutil.get_terminal_size().columns - 1
        self._out.write(f"\r\x1b[K{text[:width]}")
        self._out.flush()

    def clear(self) -> None:
        """Takes the changing line away, so that other output starts on a clean line."""
        if self._live:
            self._out.write("\r\x1b[K")
        self._out.flush()

    def _head(self, key: str) -> str:
        return f"[{self._runs[key].number}/{max(len(self._limits), len(self._runs))}] {key}"

    def _time(self, key: str) -> str:
        limit = self._limits.get(key)
        elapsed = f"{time.monotonic() - self._runs[key].started:.0f}"
        return f"{elapsed} of {limit:.0f} s" if limit else f"{elapsed} s"

    def _once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._line(text)

    def _line(self, text: str) -> None:
        self.clear()
        self._out.write(f"{text.rstrip()}\n")
        self._out.flush()


def _selftest(event: Event) -> str:
    failed, outliers, notes = (event.get(name) or [] for name in ("failed", "outliers", "notes"))
    texts = [f"failed on {', '.join(map(str, failed))}"] if isinstance(failed, list) and failed else []
    for one in outliers if isinstance(outliers, list) else ():
        texts.append(f"{one.get('host')} is {one.get('percent')} % {one.get('is')} in {one.get('operation')}")
    texts += [str(note) for note in notes] if isinstance(notes, list) else []
    return f"self-test of every host: {'; '.join(texts) or 'no host fails or stands out'}"


def _detail(progress: object) -> str:
    if not isinstance(progress, dict) or not progress.get("total"):
        return ""
    return f"{progress.get('operation') or ''} {progress.get('done')}/{progress['total']}".strip()
