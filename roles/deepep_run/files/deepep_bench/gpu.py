"""The state of this host's GPUs before, during and after: clocks, heat, throttling, power, other processes.

Asked of nvidia-smi by one helper process per host, so that no rank spends time on it, and around each part
that is measured: the driver counts how long a GPU was throttled in between, whatever the helper saw.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import Any, Iterator

from . import throttling
from .link_counters import LinkCounters

_STATIC = ("index", "name", "uuid", "serial", "driver_version", "pci.bus_id", "clocks.max.sm", "power.limit")
_SAMPLED = ("uuid", "clocks.sm", "clocks.mem", "temperature.gpu", "power.draw")
_REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")  # the newer name first
_INTERVAL_MS = 500
_ANSWER_S = 10
_COOL_S = 1.5  # how long a GPU may still tell of what came before
PARTS = {
    "during": "while it was timed",
    "baselines": "while the baselines were timed",
    "own_test": "while it was timed as DeepEP's own test does",
    "kernels": "while its kernels were timed",
}
"""What is measured, by what it is called in evidence.json."""
_BETWEEN = "between"


class GpuWatch:
    """Of one host. Every method may be called where there is no nvidia-smi; then nothing is known."""

    def __init__(self) -> None:
        self._program = shutil.which("nvidia-smi")
        self.links = LinkCounters(self._program)
        self._gpus: dict[str, dict[str, str]] = {}
        self._before: list[dict[str, str]] = []
        self._during: list[dict[str, str]] = []
        self._samples: dict[str, list[dict[str, str]]] = {
            when: [] for when in ("before", *PARTS, _BETWEEN, "after")
        }
        self._throttled = throttling.Throttled()
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._reasons = _REASONS[0]
        self._lock = threading.Lock()
        self._part = _BETWEEN
        self._cool_at = 0.0

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
                        hot = time.monotonic() < self._cool_at
                        self._samples[_BETWEEN if hot else self._part].append(row)

        self._process = process
        self._thread = threading.Thread(target=read, name="gpu samples", daemon=True)
        self._thread.start()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """One of PARTS: what is seen and counted in here belongs to it. Does nothing before ``start``.

        Asks nvidia-smi at both ends: the host's other ranks have to wait outside meanwhile.
        """
        if self._process is None:
            yield
            return
        counted = self._counters()
        self._throttled.begin(name, throttling.Snapshot(time.monotonic(), counted))
        with self._lock:
            self._part = name
        yield
        ended = time.monotonic()
        self._throttled.end(name, throttling.Snapshot(ended, self._counters()))
        rows = self._query("gpu", (*_SAMPLED, self._reasons))  # a short part may have no other sample
        with self._lock:
            self._part = _BETWEEN
            self._cool_at = time.monotonic() + _COOL_S
            self._samples[name] += rows

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
        if process.stdout is not None:
            process.stdout.close()
        self._samples["after"] = self._query("gpu", (*_SAMPLED, self._reasons))

    def conditions(
        self, host: str, uuids: set[str], own_pids: set[int], expected: bool = True
    ) -> dict[str, Any]:
        """What was seen on the GPUs in use (all of them where ``uuids`` is empty).

        marks: what was wrong all the time; marks_by_part: in one of PARTS. expected: there are GPUs.
        """
        used = [uuid for uuid in self._gpus if not uuids or uuid in uuids]
        with self._lock:
            samples = {when: list(rows) for when, rows in self._samples.items()}
        gpus = [self._of_gpu(uuid, samples) for uuid in used]
        foreign = _foreign(self._before, self._during, set(used), own_pids)
        marks = [f"GPU {each['gpu']} of {host} was shared with {each['process']}" for each in foreign]
        if expected and not gpus:
            marks.append(f"conditions unknown: nvidia-smi tells nothing of the GPUs of {host}")
        by_part: dict[str, list[str]] = {}
        for part in self._throttled.parts():
            found = [mark for gpu in gpus for mark in _marks_of(gpu, part, host)]
            if found:
                by_part[part] = found
        return {
            "host": host,
            "gpus": gpus,
            "foreign_processes": foreign,
            "marks": marks,
            "marks_by_part": by_part,
        }

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
        for when, rows in samples.items():
            mine = [row for row in rows if row["uuid"] == uuid]
            found[when] = {
                "samples": len(mine),
                "sm_clock_mhz": _range(mine, "clocks.sm"),
                "memory_clock_mhz": _range(mine, "clocks.mem"),
                "temperature_c": _range(mine, "temperature.gpu"),
                "power_w": _range(mine, "power.draw"),
            }
            if when in PARTS:
                seen = throttling.active(row[self._reasons] for row in mine)
                found[when].update(throttled=seen, throttled_s=self._throttled.seconds(when, uuid))
        found["throttled"] = found["during"]["throttled"]
        return found

    def _counters(self) -> dict[str, dict[str, float]]:
        return throttling.counters(self._ask("-q", "-x"))

    def _processes(self) -> list[dict[str, str]]:
        return self._query("compute-apps", ("gpu_uuid", "pid", "process_name", "used_gpu_memory"))

    def _query(self, what: str, fields: tuple[str, ...]) -> list[dict[str, str]]:
        told = self._ask(f"--query-{what}={','.join(fields)}", "--format=csv,noheader,nounits")
        return [row for row in (_row(fields, line) for line in told.splitlines()) if row]

    def _ask(self, *words: str) -> str:
        """What nvidia-smi prints; nothing where it fails."""
        try:
            done = subprocess.run(  # noqa: S603
                [str(self._program), *words], capture_output=True, text=True, timeout=_ANSWER_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return "" if done.returncode else done.stdout


def _marks_of(gpu: dict[str, Any], part: str, host: str) -> list[str]:
    """What was wrong with a GPU in a part; that nobody knows is wrong, too."""
    name, seen = f"GPU {gpu['index']} of {host}", gpu[part]
    counted = seen["throttled_s"]
    if not seen["samples"] and counted is None:
        return [f"conditions unknown: nothing was told of {name} {PARTS[part]}"]
    reasons = throttling.reasons(seen["throttled"], counted)
    return [f"{name} was throttled {PARTS[part]}: {', '.join(reasons)}"] if reasons else []


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


def _range(rows: list[dict[str, str]], field: str) -> list[float] | None:
    """[smallest, largest]; None where nothing was told."""
    values = [value for value in (_number(row[field]) for row in rows) if value is not None]
    return [min(values), max(values)] if values else None
