"""Faults really caused on real hosts (faults.py): bounded time, the right verdict, nothing left behind.

``make test`` runs the quick ones, ``make faults`` all, and writes docs/faults.md from what happened.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import images
from tests.cluster.faults import CELLS, COLLECTING, IMAGE, RENDEZVOUS, STAGING, TIMING, Cell, Situation
from tests.cluster.lab import REPOSITORY, Lab
from tests.cluster.machine import Host
from tests.cluster.registry import Registry
from tests.cluster.runs import Launched

pytestmark = pytest.mark.cluster

OUTCOMES = os.environ.get("DEEPEP_FAULTS_DIR")
"""Where ``make faults`` collects what happened; without it only the quick cells run."""

GONE_S = 300
"""How long a host may take to be rid of the benchmark. Ample: tests assert that it happens, not how fast."""


def chosen() -> list[Cell]:
    """Returns the cells to run."""
    return [cell for cell in CELLS if OUTCOMES or cell.quick]


@pytest.mark.long
@pytest.mark.parametrize("cell", chosen(), ids=lambda cell: cell.id)
def test_fault(cell: Cell, lab: Lab, tmp_path: Path) -> None:
    hosts = lab.hosts[:3]
    at_start: list[Callable[[], object]] = []
    image = None
    if cell.phase == IMAGE:
        image = put_image(lab, tmp_path)
        hosts[1].disturb(delay_ms=60)
        at_start.append(hosts[1].clear_link)
    elif cell.podman:
        images.put(hosts, tmp_path)
        image = images.ARCHIVE
    begun = time.monotonic()
    run = Launched(
        lab,
        tmp_path,
        hosts,
        stand_in=cell.stand_in,
        time_limit_s=cell.time_limit_s,
        timeouts_s=cell.timeouts_s,
        env=dict(cell.env),
        iterations=5 if cell.stand_in is not None or cell.env else 1_000_000,
        variables=variables_of(cell),
        image=image,
    )
    at = Situation(lab, run, hosts[1], hosts[0], at_start)
    gone_after: float | None = None
    try:
        reach(run, cell, at.victim)
        others = [host for host in hosts if host is not at.victim]
        seconds = Seconds(others) if cell.phase == TIMING and cell.verdicts != ("PASS",) else None
        if cell.action is not None:
            cell.action(at)
        if cell.sign:
            run.wait_for_sign(at.victim, cell.sign, meanwhile=seconds.look if seconds else None)
        if seconds:
            gone_after = seconds.until_gone()
        if cell.verdicts:
            code = run.finish()
        else:
            run.kill()
            code = -9
        took = time.monotonic() - begun
        found = run.verdict()
        # Before anything is mended: what is left on hosts that can be reached, and on the others too.
        left = what_is_left(hosts, cell.podman)
    finally:
        run.kill()
        for undo in at.later:
            undo()
    if found.get("verdict") == "PASS":
        gone_after = None
    check(cell, run, code, found)
    assert not left, f"left running: {left}"
    # Only what held is shown on the page.
    record(cell, code, found, took, gone_after, at.note)


def put_image(lab: Lab, folder: Path) -> str:
    """Pushes an image that no host has, and that takes a while to arrive; returns its reference."""
    assert lab.registry is not None
    name = f"team/faults-{secrets.token_hex(4)}:1"
    images.frame(folder / "image.tar", "team/faults:1", files={"/opt/noise": secrets.token_urlsafe(12 << 20)})
    lab.registry.push(folder / "image.tar", name)
    return f"{lab.registry.NAME}/{name}"


def variables_of(cell: Cell) -> dict[str, Any] | None:
    """Returns what the inventory says beyond that of all runs."""
    if cell.podman:
        return {
            "deepep_iterations_cap": None,
            "deepep_container_runtime": "podman",
            "deepep_container_mounts": [*images.TORCH_MOUNTS],
            "deepep_python": str(images.TORCH / "bin" / "python"),
        }
    if cell.stand_in is None:
        return {"deepep_iterations_cap": None}
    if cell.phase != IMAGE:
        return None
    login = {"registry": Registry.NAME, "username": Registry.USER, "password": Registry.PASSWORD}
    return {
        "deepep_container_runtime": "podman",
        "deepep_container_mounts": [*images.MOUNTS, f"{REPOSITORY}:{REPOSITORY}:ro"],
        "deepep_registries": [login],
        # Until then what stages the image goes on, on a host that cannot be told to end it.
        "deepep_image_timeout_seconds": 120,
    }


def reach(run: Launched, cell: Cell, victim: Host) -> None:
    """Waits for the phase in which the fault is to be caused."""
    if cell.action is None:
        return
    if cell.phase == IMAGE:
        coming = ("pulling", "receiving")
        run.wait_for(lambda event: event["event"] == "image" and event["host"] == victim.name
                     and event.get("phase") in coming)  # fmt: skip
    elif cell.fault.startswith("foreign") or cell.phase == STAGING:
        run.wait_for_task("Examine the host" if cell.phase == STAGING else "where its ranks meet")
    elif cell.phase == RENDEZVOUS:
        run.wait_for(lambda event: event["event"] == "start", len(run.hosts))
    elif cell.phase == TIMING and "eat" not in (cell.stand_in or ""):
        run.wait_for_phase("timing")
    elif cell.phase == TIMING:
        run.wait_for_task("Leave a supervisor running on every host")
    elif cell.phase == COLLECTING:
        run.wait_for_task("Bring the run's files into the result tree")


class Seconds:
    """How long hosts take to be rid of a benchmark that was seen running there."""

    def __init__(self, hosts: list[Host]) -> None:
        self._hosts = hosts
        self._ran = False
        self.look()

    def look(self) -> None:
        """Notices whether it runs on all of them."""
        self._ran = self._ran or all(host.of_benchmark() for host in self._hosts)

    def until_gone(self) -> float:
        """Waits until nothing of it runs; returns how long that took from now on."""
        assert self._ran, "nothing ran on the other hosts: there are no seconds to measure"
        begun = time.monotonic()
        wait_until_gone(self._hosts)
        return time.monotonic() - begun


def wait_until_gone(hosts: list[Host]) -> None:
    """Waits until nothing of the benchmark runs on these hosts, or has had ample time to end."""
    end = time.monotonic() + GONE_S
    while any(host.on and host.of_benchmark() for host in hosts) and time.monotonic() < end:
        time.sleep(0.1)


def what_is_left(hosts: list[Host], podman: bool = False) -> dict[str, list[str]]:
    """Returns what is left of the benchmark, after a while, on each host that is on; also containers."""
    wait_until_gone(hosts)
    found = {}
    for host in filter(lambda host: host.on, hosts):
        left = [process.command for process in host.of_benchmark()]
        left += host.run("podman", "ps", "--all", "--quiet").stdout.split() if podman else []
        if left:
            found[host.name] = left
    return found


def check(cell: Cell, run: Launched, code: int, found: dict[str, object]) -> None:
    """The verdict, its first reason, the exit code, and what was brought home."""
    output = run.output()
    assert "Traceback" not in output, output
    if not cell.verdicts:
        return
    verdict = found.get("verdict")
    told = json.dumps(found.get("reasons"), indent=1)
    assert verdict in cell.verdicts, f"{verdict}\n{told}\n{output}\n{run.ansible_log()[-6000:]}"
    expected = cell.exit_code if cell.exit_code is not None else 0 if verdict == "PASS" else 3
    assert code == expected, output
    if verdict != "PASS" or cell.exit_code is not None:
        reasons = found["reasons"]
        assert isinstance(reasons, list)
        first = f"{reasons[0]['host']} {reasons[0]['text']}" if reasons else ""
        for word in cell.names:
            assert word.lower() in first.lower(), f"{word!r} is not in the first reason: {told}"
    for name in cell.collected:
        assert (run.session / "Tests.1" / "0" / "logs" / f"{name}.stderr.txt").is_file(), f"{name}: no log"
    for name in cell.kept:
        assert (run.session / "Tests.1" / "0" / "logs" / f"node2.{name}").is_file(), f"{name} was not kept"
    if verdict == "PASS" or not cell.left_on:
        for host in run.hosts:
            if host.on and host.name in (cell.collected or ()):
                left = run.left_on(host)
                assert not left, f"files are left on {host.name}: {left}"


def record(
    cell: Cell, code: int, found: dict[str, object], took: float, gone_after: float | None, note: str
) -> None:
    """Keeps what happened for the page."""
    if not OUTCOMES:
        return
    reasons = found.get("reasons")
    first = reasons[0] if isinstance(reasons, list) and reasons else {}
    suspect = found.get("suspect")
    kept = {
        "fault": cell.fault,
        "phase": cell.phase,
        "verdict": found.get("verdict"),
        "reason": first.get("text"),
        "suspect": suspect.get("text") if isinstance(suspect, dict) else None,
        "exit_code": code,
        "seconds": round(took, 1),
        "gone_after_s": None if gone_after is None else round(gone_after, 1),
        "note": note,
        "real": cell.stand_in is None,
    }
    folder = Path(OUTCOMES)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{cell.id.replace('/', '_').replace(':', '')}.json").write_text(json.dumps(kept, indent=1))
