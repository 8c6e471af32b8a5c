"""A process beside each rank, which ends it where the rank itself cannot: frozen with Python's lock held.

DeepEP waits for other ranks without letting go of that lock (V1's standard dispatch in one host, V2, every
``destroy``: up to 100 s), and no thread of the rank runs then: not those that watch other ranks, not the
one that obeys SIGTERM. While ranks are patient with each other (DeepEP opens its buffers, or compiles)
silence says nothing for a minute or more: the sentinels themselves tell each other then who is gone.

This is the rank's side; the process is sentinel_process.py. Over one pipe go the number of each signal
(written without the lock, by ``signal.set_wakeup_fd``) and lines of JSON that begin with a zero byte: while
the guard thread runs, how long the rank may be silent and what it does; its neighbours; that it is done. The
signals come back over another pipe, for the guard.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from .neighbours import Address, listen
from .world import World

_ROOT = str(Path(__file__).resolve().parent.parent)
# Nothing that the rank's environment says about paths and packages counts.
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from deepep_bench.sentinel_process import main; main(sys.argv[2:])"
)


class Sentinel:
    """The rank's side. ``signals`` is the file descriptor from which numbers of signals are read."""

    def __init__(self, world: World, silence_s: float, interval_s: float, folder: Path) -> None:
        """:param silence_s: how long the rank, or a neighbour, may send nothing

        :param interval_s: between two signs of life to neighbours
        :param folder: the run's own
        """
        # Where everything stands, from a signal handler that needs no lock.
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        to_read, self._out = os.pipe()
        self.signals, to_write = os.pipe()
        listener, self.address = _listen(world)
        place = [str(world.rank), world.host, str(listener.fileno() if listener else -1)]
        times = [str(silence_s), str(interval_s)]
        self._process = subprocess.Popen(  # noqa: S603 - this file
            [sys.executable, "-I", "-S", "-c", _START, _ROOT, str(os.getpid()), *place, *times, str(folder)],
            stdin=to_read,
            stdout=to_write,
            pass_fds=[listener.fileno()] if listener else [],
        )
        os.close(to_read)
        os.close(to_write)
        if listener:
            listener.close()
        os.set_blocking(self._out, False)
        signal.set_wakeup_fd(self._out, warn_on_full_buffer=False)
        if self.address:
            self._tell(
                token=self.address[2]
            )  # not for the command line, which everybody on the host can read

    def beat(self, patience_s: float, doing: str) -> None:
        """The rank is alive, does this, and may be silent for so much longer than it usually may."""
        self._tell(patience=patience_s, doing=doing[:200])

    def introduce(self, rank: int, host: str, address: Address) -> None:
        """The sentinel of a rank that this one is to watch listens there."""
        self._tell(neighbour=[rank, host, address])

    def _tell(self, **said: Any) -> None:
        line = b"\0" + json.dumps(said).encode("ascii") + b"\n"
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
        self._tell(done=True)
        os.close(self._out)
        self._process.wait()


def _listen(world: World) -> tuple[socket.socket | None, Address | None]:
    """A rank without neighbours, or without an address, has nothing to listen to."""
    if world.size == 1:
        return None, None
    try:
        return listen(world.master_addr, world.master_port)
    except OSError:
        return None, None
