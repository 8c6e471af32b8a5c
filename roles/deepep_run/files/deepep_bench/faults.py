"""A hook for this program's own tests: makes a rank fail on purpose. Never set it for a measurement.

``DEEPEP_BENCH_FAULT=<kind>:rank=N[,phase=P][,operation=O]`` with kind

* ``wrong-data``: flips bits of one received element before the check (phases check_before, check_after)
* ``raise``, ``oom``: an exception        * ``exit``: leaves at once with code 99
* ``kill``: SIGKILL to itself             * ``stop``: SIGSTOP to itself
* ``hang``: the main thread sleeps for ever

When it is set, every record says so in its notes.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import Mapping

import torch

from .errors import RefusedError

VARIABLE = "DEEPEP_BENCH_FAULT"
_KINDS = ("wrong-data", "raise", "oom", "exit", "kill", "stop", "hang")
_DEFAULT_PHASE = {"wrong-data": "check_before"}


@dataclass(frozen=True)
class _Fault:
    kind: str
    rank: int
    phase: str
    operation: str


class Faults:
    """The faults asked for in the environment, for one rank."""

    def __init__(self, rank: int, environ: Mapping[str, str] = os.environ) -> None:
        self._rank = rank
        self.text = environ.get(VARIABLE, "")
        self._fault = _parse(self.text)

    def at(self, phase: str) -> None:
        """Fail here, where that was asked for."""
        fault = self._fault
        if fault is None or fault.rank != self._rank or fault.phase != phase:
            return
        if fault.kind == "raise":
            raise RuntimeError(f"{VARIABLE} asked for this exception")
        if fault.kind == "oom":
            raise MemoryError(f"{VARIABLE} asked for this: you tried to allocate 1234567 bytes")
        if fault.kind == "exit":
            os._exit(99)
        if fault.kind in ("kill", "stop"):
            os.kill(os.getpid(), signal.SIGKILL if fault.kind == "kill" else signal.SIGSTOP)
        while fault.kind == "hang":
            time.sleep(1)

    def corrupt(self, operation: str, phase: str, rows: torch.Tensor, row: int = 0) -> None:
        """Change one element of row ``row`` of [n, hidden] in place, where that was asked for."""
        fault = self._fault
        wanted = (operation, phase, self._rank)
        if (
            fault is None
            or fault.kind != "wrong-data"
            or (fault.operation, fault.phase, fault.rank) != wanted
        ):
            return
        # the top byte of the fourth channel: exponent bits, so that the value is far off
        rows.view(torch.uint8)[row, 4 * rows.element_size() - 1] ^= 0x21


def _parse(text: str) -> _Fault | None:
    if not text:
        return None
    kind, _, rest = text.partition(":")
    options = dict(part.partition("=")[::2] for part in rest.split(",") if part)
    if kind not in _KINDS or not options.get("rank", "").isdigit():
        raise RefusedError(
            f"{VARIABLE}={text!r}: expected KIND:rank=N[,phase=P], KIND one of {', '.join(_KINDS)}"
        )
    phase = options.get("phase", _DEFAULT_PHASE.get(kind, "timing"))
    return _Fault(kind, int(options["rank"]), phase, options.get("operation", "dispatch"))
