"""The state of this host's GPUs before, during and after: clocks, heat, throttling, power, other processes.

Asked of nvidia-smi by one helper process per host, so that no rank spends time on it.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from typing import Any

from .link_counters import LinkCounters

_STATIC = ("index", "name", "uuid", "serial", "driver_version", "pci.bus_id", "clocks.max.sm", "power.limit")
_SAMPLED = ("uuid", "clocks.sm", "clocks.mem", "temperature.gpu", "power.draw")
_REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")  # the newer name first
_REASON_BITS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "too hot (software)",
    0x40: "too hot (hardware)",
    0x80: "power brake",
}
_INTERVAL_MS = 500
_ANSWER_S = 20
_COOL_S = 1.5  # how long a GPU may still tell of what came before


class GpuWatch:
    """Of one host. Every method may be called where there is no nvidia-smi; then nothing is known."""

    def __init__(self) -> None:
        self._program = shutil.which("nvidia-smi")
        self.links = LinkCounters(self._program)
        self._gpus: dict[str, dict[str, str]] = {}
        self._before: list[dict[str, str]] = []
        self._during: list[dict[str, str]] = []
        self._samples: dict[str, list[dict[str, str]]] = {
            "before": [],
            "during": [],
            "own_test": [],
            "after": [],
        }
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._reasons = _REASONS[0]
        self._lock = threading.Lock()
        self._apart_until = 0.0

    def before(self) -> None:
        """Before any rank of this host has touched its GPU: whatever runs there is somebody else's."""
        self.links.begin()
        if not self._program:
            return
        rows = self._query("gpu", _STATIC)
        self._gpus = {row["uuid"]: row for row in rows}
        if not self._query("gpu", (*_SAMPLED, self._reasons)):
            self._reasons = _REASONS[1]
        self._samples["before"] = self._query("gpu", (*_SAMPLED, self._reasons))
        self._before = self._processes()

    def start(self) -> None:
        """Sample until ``stop``."""
        if not self._program:
            return
        fields = (*_SAMPLED, self._reasons)
        command = [
            self._program,
            f"--query-gpu={','.join(fields)}",
            "--format=csv,noheader,nounits",
            f"--loop-ms={_INTERVAL_MS}",
        ]
        process = subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

        def read() -> None:
            for line in process.stdout or ():
                row = _row(fields, line)
                if row:
                    with self._lock:
                        apart = time.monotonic() < self._apart_until
                        self._samples["own_test" if apart else "during"].append(row)

        self._process = process
        self._thread = threading.Thread(target=read, name="gpu samples", daemon=True)
        self._thread.start()

    def set_apart(self, begin: bool) -> None:
        """From ``begin`` to the end (and a little longer) samples do not belong to what is measured."""
        self._apart_until = float("inf") if begin else time.monotonic() + _COOL_S

    def look_for_others(self) -> None:
        """While the benchmark's own processes are there, too; at any time and as often as wanted."""
        if self._program:
            seen = {(each["gpu_uuid"], each["pid"]) for each in self._during}
            self._during += [
                each for each in self._processes() if (each["gpu_uuid"], each["pid"]) not in seen
            ]

    def stop(self) -> None:
        """Ends the helper; may be called in any state, also twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        if self._thread is not None:
            self._thread.join(timeout=2)
        self._samples["after"] = self._query("gpu", (*_SAMPLED, self._reasons))

    def conditions(self, host: str, uuids: set[str], own_pids: set[int]) -> dict[str, Any]:
        """What was seen on the GPUs in use (all of them where ``uuids`` is empty)."""
        used = [uuid for uuid in self._gpus if not uuids or uuid in uuids]
        with self._lock:
            samples = {when: list(rows) for when, rows in self._samples.items()}
        gpus = [self._of_gpu(uuid, samples) for uuid in used]
        foreign = _foreign(self._before, self._during, set(used), own_pids)
        marks = [
            f"GPU {gpu['index']} of {host} was throttled: {', '.join(gpu['throttled'])}"
            for gpu in gpus
            if gpu["throttled"]
        ]
        marks += [f"GPU {each['gpu']} of {host} was shared with {each['process']}" for each in foreign]
        return {"host": host, "gpus": gpus, "foreign_processes": foreign, "marks": marks}

    def _of_gpu(self, uuid: str, samples: dict[str, list[dict[str, str]]]) -> dict[str, Any]:
        known = self._gpus[uuid]
        found: dict[str, Any] = {
            "index": known["index"],
            "model": known["name"],
            "uuid": uuid,
            "serial": known["serial"],
            "driver": known["driver_version"],
            "pci": known["pci.bus_id"],
            "max_sm_clock_mhz": _number(known["clocks.max.sm"]),
            "power_limit_w": _number(known["power.limit"]),
        }
        reasons: list[str] = []
        for when, rows in samples.items():
            mine = [row for row in rows if row["uuid"] == uuid]
            found[when] = {
                "samples": len(mine),
                "sm_clock_mhz": _range(mine, "clocks.sm"),
                "memory_clock_mhz": _range(mine, "clocks.mem"),
                "temperature_c": _range(mine, "temperature.gpu"),
                "power_w": _range(mine, "power.draw"),
            }
            if when == "during":
                bits = 0
                for row in mine:
                    bits |= _bits(row[self._reasons])
                reasons = [text for bit, text in _REASON_BITS.items() if bits & bit]
        found["throttled"] = reasons
        return found

    def _processes(self) -> list[dict[str, str]]:
        return self._query("compute-apps", ("gpu_uuid", "pid", "process_name", "used_gpu_memory"))

    def _query(self, what: str, fields: tuple[str, ...]) -> list[dict[str, str]]:
        command = [str(self._program), f"--query-{what}={','.join(fields)}", "--format=csv,noheader,nounits"]
        try:
            done = subprocess.run(  # noqa: S603
                command, capture_output=True, text=True, timeout=_ANSWER_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return []
        if done.returncode:
            return []
        return [row for row in (_row(fields, line) for line in done.stdout.splitlines()) if row]


def _foreign(
    before: list[dict[str, str]], during: list[dict[str, str]], uuids: set[str], own_pids: set[int]
) -> list[dict[str, str]]:
    """Processes that were there before us, and those beside ours.

    In a container nvidia-smi may give numbers of another process name space: then none is ours by number,
    and one process per GPU is taken for ours.
    """
    found = [each for each in before if each["gpu_uuid"] in uuids]
    seen = {(each["gpu_uuid"], each["pid"]) for each in found}
    known = any(int(each["pid"]) in own_pids for each in during if each["pid"].isdigit())
    for uuid in sorted(uuids):
        here = [each for each in during if each["gpu_uuid"] == uuid]
        others = [each for each in here if not (each["pid"].isdigit() and int(each["pid"]) in own_pids)]
        fresh = [each for each in others if (uuid, each["pid"]) not in seen]
        found += fresh if known else fresh[1:]
    return [
        {"gpu": each["gpu_uuid"], "process": f"{each['process_name']} (pid {each['pid']})"} for each in found
    ]


def _row(fields: tuple[str, ...], line: str) -> dict[str, str] | None:
    values = [value.strip() for value in line.split(",")]
    return dict(zip(fields, values)) if len(values) == len(fields) else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None  # "[N/A]"


def _bits(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0


def _range(rows: list[dict[str, str]], field: str) -> list[float] | None:
    """[smallest, largest]; None where nothing was told."""
    values = [value for value in (_number(row[field]) for row in rows) if value is not None]
    return [min(values), max(values)] if values else None
