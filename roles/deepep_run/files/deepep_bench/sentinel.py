"""A process beside each rank, which ends it where the rank itself cannot: frozen with Python's lock held.

DeepEP waits for other ranks without letting go of that lock (V1's standard dispatch in one host, V2, every
``destroy``: up to 100 s), and no thread of the rank runs then: not those that watch other ranks, not the one
that obeys SIGTERM. Standard library only, and a file of its own: it must not wait for what the rank does.

The rank's side is :class:`Sentinel`. It sends, over one pipe, the number of each signal (written without the
lock, by ``signal.set_wakeup_fd``) and, while its guard thread runs, a line that begins with a zero byte. The
signals come back over another pipe, for the guard.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

OBEYS_S = 5.0
"""How long after SIGTERM a rank may take to end by itself."""
LATER_S = 2.0
"""How much later than other ranks the sentinel gives its own one up: what they say of it comes first."""
DUMP_S = 0.5


class Sentinel:
    """The rank's side. ``signals`` is the file descriptor from which numbers of signals are read."""

    def __init__(self, rank: int, silence_s: float) -> None:
        """:param silence_s: how long the rank may send nothing"""
        # Where everything stands, from a signal handler that needs no lock.
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        to_read, self._out = os.pipe()
        self.signals, to_write = os.pipe()
        self._process = subprocess.Popen(  # noqa: S603 - this file
            [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(rank), str(silence_s + LATER_S)],
            stdin=to_read,
            stdout=to_write,
        )
        os.close(to_read)
        os.close(to_write)
        os.set_blocking(self._out, False)
        signal.set_wakeup_fd(self._out, warn_on_full_buffer=False)

    def beat(self, patience_s: float, doing: str) -> None:
        """The rank is alive, does this, and may be silent for so much longer than it usually may."""
        line = b"\0" + json.dumps([patience_s, doing[:200]]).encode("ascii") + b"\n"
        try:
            os.write(self._out, line)  # short enough to come whole: signals come before or after it
        except OSError:
            return  # it was killed, or cannot keep up: the ranks still watch each other

    def wake(self) -> None:
        """Has something come out of ``signals``."""
        with contextlib.suppress(OSError):  # it was killed: then something comes anyway
            os.write(self._out, bytes([signal.SIGHUP]))

    def close(self) -> None:
        """The rank ends well; nobody uses this any more."""
        signal.set_wakeup_fd(-1)
        os.close(self._out)
        self._process.wait()


class _Watch:
    """What is known of the rank."""

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
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
            self._patience_s, self._doing = json.loads(line[1:])
            self._heard_at = time.monotonic()
            data = after
        if signal.SIGTERM in signals and self._ends_at is None:
            self._ends_at = time.monotonic() + OBEYS_S
        return bytes(signals)

    def verdict(self, pid: int) -> str | None:
        """Why the rank has to be ended now, None where it has not."""
        now = time.monotonic()
        if self._heard_at is None:
            return None
        silent = now - self._heard_at
        deaf = self._ends_at is not None and now > self._ends_at
        if not deaf and silent <= self._silence_s + self._patience_s:
            return None
        told = " and deaf to SIGTERM" if deaf else ""
        if _stopped(pid):
            return f"stopped for {silent:.1f} s{told}, as by SIGSTOP (last: {self._doing})"
        what = "it waits for another rank or for its GPU"
        return f"frozen for {silent:.1f} s{told}, outside of Python (last: {self._doing}): {what}"


def _stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] in b"Tt"
    except OSError:
        return False


def main(argv: list[str]) -> int:
    """Watches process ``argv[0]`` until it ends."""
    pid, rank, silence_s = int(argv[0]), int(argv[1]), float(argv[2])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the launcher sends them to the rank's whole group
    watch = _Watch(silence_s)
    while True:
        if select.select([0], [], [], 0.5)[0]:
            data = os.read(0, 1 << 16)
            if not data:
                return 0  # the rank has ended
            signals = watch.hear(data)
            if signals:
                os.write(1, signals)
        why = watch.verdict(pid)
        if why is not None:
            os.write(2, f"[rank {rank}] {why}\n".encode("ascii", "replace"))
            # Its stacks, then its end, by a signal that nobody else sends: nobody is to look for a killer.
            for last in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, last)
                time.sleep(DUMP_S)
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
