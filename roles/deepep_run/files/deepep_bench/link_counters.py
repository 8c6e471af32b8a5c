"""Which links really carried the bytes: what this host's NVLinks and RDMA ports counted during the run.

The ports count everything that passes them, also what is not this run's.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_INFINIBAND = Path("/sys/class/infiniband")
_WORD = 4  # port_*_data counts words
_ANSWER_S = 20
_USED_BYTES = 1 << 20  # less is what a link carries without any tokens

_GPU = re.compile(r"^GPU \d+:.*\(UUID: (GPU-[0-9a-f-]+)\)")
_DATA = re.compile(r"^\s*Link \d+: Data (Tx|Rx): (\d+) KiB")


@dataclass(frozen=True)
class Carried:
    """Bytes, counted since the machine's start."""

    sent: int
    received: int


class LinkCounters:
    """Of one host. ``program`` is nvidia-smi; without it nothing is known of NVLink."""

    def __init__(self, program: str | None, infiniband: Path = _INFINIBAND) -> None:
        self._program = program
        self._infiniband = infiniband
        self._nvlink: dict[str, Carried] = {}
        self._rdma: Carried | None = None

    def begin(self) -> None:
        """Count from here."""
        self._nvlink, self._rdma = parse_nvlink(self._ask()), _ports(self._infiniband)

    def carried(self, uuids: set[str]) -> dict[str, Any]:
        """Since ``begin``: NVLink of these GPUs (all where none is named), all RDMA ports; null: not told."""
        now, before = parse_nvlink(self._ask()), self._nvlink
        gpus = [uuid for uuid in now if uuid in before and (uuid in uuids or not uuids)]
        rdma = _ports(self._infiniband)
        found = {
            "nvlink": _difference([before[uuid] for uuid in gpus], [now[uuid] for uuid in gpus]),
            "rdma": _difference([self._rdma], [rdma]) if self._rdma and rdma else None,
        }
        used = [name for name, each in found.items() if each and max(each.values()) > _USED_BYTES]
        # 0: counters that stand still, and tell nothing
        ever = sum(now[uuid].sent + now[uuid].received for uuid in gpus) if gpus else None
        return {**found, "nvlink_ever_bytes": ever, "used": used}

    def _ask(self) -> str:
        if not self._program:
            return ""
        command = [self._program, "nvlink", "-gt", "d"]
        try:
            done = subprocess.run(  # noqa: S603
                command, capture_output=True, text=True, timeout=_ANSWER_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return "" if done.returncode else done.stdout


def parse_nvlink(text: str) -> dict[str, Carried]:
    """By GPU, its links added: what ``nvidia-smi nvlink -gt d`` says. Who tells no numbers is left out."""
    found: dict[str, Carried] = {}
    uuid = None
    for line in text.splitlines():
        gpu, data = _GPU.match(line), _DATA.match(line)
        if gpu:
            uuid = gpu[1]
        elif data and uuid:
            before, count = found.get(uuid, Carried(0, 0)), int(data[2]) * 1024
            sent, received = (count, 0) if data[1] == "Tx" else (0, count)
            found[uuid] = Carried(before.sent + sent, before.received + received)
    return found


def _ports(infiniband: Path) -> Carried | None:
    """Of all ports together; None where no port tells."""
    totals = []
    for name in ("port_xmit_data", "port_rcv_data"):
        values = [_number(path) for path in infiniband.glob(f"*/ports/*/counters/{name}")]
        told = [value for value in values if value is not None]
        if not told:
            return None
        totals.append(sum(told) * _WORD)
    return Carried(*totals)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _difference(before: list[Carried], after: list[Carried]) -> dict[str, int] | None:
    if not before:
        return None
    return {
        "sent_bytes": sum(each.sent for each in after) - sum(each.sent for each in before),
        "received_bytes": sum(each.received for each in after) - sum(each.received for each in before),
    }
