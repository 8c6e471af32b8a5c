"""The process beside a rank (sentinel.py): watches it, hears other sentinels, ends it. Standard library only.

Started by itself: it must not wait for what the rank does.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from pathlib import Path
from typing import Any

from . import witness
from .neighbours import Neighbours

OBEYS_S = 5.0
"""How long after SIGTERM a rank may take to end by itself."""
LATER_S = 2.0
"""How much later than other ranks the sentinel gives its own one up: what they say of it comes first."""
DUMP_S = 0.5


class _Watch:
    """What is known of the rank, and by its sentinel of others."""

    def __init__(self, rank: int, host: str, listener: int, silence_s: float, interval_s: float) -> None:
        self._me = (rank, host)
        self._listener = listener
        self._usual_s = silence_s
        self._interval_s = interval_s
        self._silence_s = silence_s + LATER_S
        self._neighbours: Neighbours | None = None
        self._done = False
        self._heard_at: float | None = None
        self._patience_s = 0.0
        self._doing = "start"
        self._ends_at: float | None = None
        self._rest = b""

    def hear(self, data: bytes) -> bytes:
        """Takes what came and returns the numbers of signals in it."""
        signals = bytearray()
        data, self._rest = self._rest + data, b""
        while data:
            if data[0]:
                signals.append(data[0])
                data = data[1:]
                continue
            line, end, after = data.partition(b"\n")
            if not end:
                self._rest = data
                break
            self._take(**json.loads(line[1:]))
            data = after
        if signal.SIGTERM in signals and self._ends_at is None:
            self._ends_at = time.monotonic() + OBEYS_S
        return bytes(signals)

    def _take(
        self,
        patience: float | None = None,
        doing: str = "",
        token: str | None = None,
        neighbour: list[Any] | None = None,
        done: bool = False,
    ) -> None:
        self._done = self._done or done
        if patience is not None:
            self._patience_s, self._doing, self._heard_at = patience, doing, time.monotonic()
        if token is not None:
            listener = socket.socket(fileno=self._listener)
            self._neighbours = Neighbours(listener, token, *self._me, self._interval_s, self._usual_s)
        if neighbour is not None and self._neighbours is not None:
            self._neighbours.call(*neighbour)

    def ended(self) -> None:
        """The rank is no more."""
        if self._neighbours is not None and self._done:
            self._neighbours.leave()
        else:
            self.tell("its process ended")

    def tell(self, text: str) -> None:
        """The other sentinels hear of it, as the failure of this rank."""
        if self._neighbours is not None:
            self._neighbours.tell({"rank": self._me[0], "host": self._me[1], "text": text})

    def verdict(self, pid: int) -> list[str]:
        """Why the rank has to be ended now, in lines; empty where it has not."""
        now = time.monotonic()
        if self._heard_at is None:
            return []
        silent = now - self._heard_at
        deaf = self._ends_at is not None and now > self._ends_at
        told = " and deaf to SIGTERM" if deaf else ""
        if (deaf or silent > self._silence_s) and _stopped(pid):  # nothing that DeepEP does
            return [f"stopped for {silent:.1f} s{told}, as by SIGSTOP (last: {self._doing})"]
        what = "it waits for another rank or for its GPU"
        frozen = f"frozen for {silent:.1f} s{told}, outside of Python (last: {self._doing}): {what}"
        news = self._news(now)
        if news:
            return [news, frozen] if silent > LATER_S else [news]
        return [frozen] if deaf or silent > self._silence_s + self._patience_s else []

    def worried(self) -> bool:
        """Whether the rank is silent for longer than it may be: the supervisor is to look while it stands."""
        if self._heard_at is None:
            return False
        return time.monotonic() - self._heard_at > self._usual_s + self._patience_s

    def _news(self, now: float) -> str | None:
        """What other sentinels say, once the rank had the time to hear more from the store; while patient."""
        there = self._neighbours
        if there is None or there.news is None or not self._patience_s or now - there.heard_at <= LATER_S:
            return None
        return "consequence of rank {rank} on host {host}: {text} (seen by sentinels)".format(**there.news)


def _stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] in b"Tt"
    except OSError:
        return False


def main(argv: list[str]) -> None:
    """Watches process ``argv[0]`` until it ends."""
    pid, rank, host, listener, silence_s, interval_s, folder = argv
    watch = _Watch(int(rank), host, int(listener), float(silence_s), float(interval_s))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the launcher sends them to the rank's whole group
    while True:
        if select.select([0], [], [], 0.5)[0]:
            data = os.read(0, 1 << 16)
            if not data:
                watch.ended()
                return
            signals = watch.hear(data)
            if signals:
                os.write(1, signals)
        why = watch.verdict(int(pid))
        if why or watch.worried():
            witness.ask(Path(folder))
        if why:
            watch.tell(why[-1])
            os.write(2, "".join(f"[rank {rank}] {line}\n" for line in why).encode("ascii", "replace"))
            # Its stacks, then its end, by a signal that nobody else sends: nobody is to look for a killer.
            for last in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), last)
                time.sleep(DUMP_S)
            return
