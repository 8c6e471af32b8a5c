"""The matrix: what can break, when, how it is caused, and what must come of it. Data for test_faults.py.

Every cell is one ``deepep-compiler run`` on three real hosts. ``node2`` is the victim where one is needed;
``node1`` is where the ranks meet.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.cluster.lab import Lab
from tests.cluster.machine import Host
from tests.cluster.runs import Launched

PHASES = ("staging", "image", "rendezvous", "timing", "collecting")
STAGING, IMAGE, RENDEZVOUS, TIMING, COLLECTING = PHASES
MOST_PHASES = (STAGING, RENDEZVOUS, TIMING, COLLECTING)
"""Those of a run without a container."""

PASS, NOT_RUN, FAIL, TIMEOUT = ("PASS",), ("NOT_RUN",), ("FAIL",), ("TIMEOUT",)


@dataclass
class Situation:
    """What a fault acts on. It may leave in ``later`` what has to be undone after the run."""

    lab: Lab
    run: Launched
    victim: Host
    head: Host
    later: list[Callable[[], object]] = field(default_factory=list)
    note: str = ""


Action = Callable[[Situation], object]


@dataclass(frozen=True)
class Cell:
    """One fault in one phase.

    ``verdicts``: the ones that are right. ``names``: what the first reason must say, all of it: the host, the
    cause. ``sign``: what the victim's logs say when it happens, where that is later than the action, or the
    program itself causes it. ``stand_in``: words for the stand-in program; None for the real benchmark.
    ``collected``: hosts whose logs must be in the tree; ``kept``: what else must be there of the victim.
    ``podman``: in a container. ``quick``: part of ``make test``.
    """

    fault: str
    phase: str
    verdicts: tuple[str, ...]
    names: tuple[str, ...] = ()
    action: Action | None = None
    sign: str = ""
    stand_in: str | None = ""
    collected: tuple[str, ...] = ("node1", "node2", "node3")
    exit_code: int | None = None
    time_limit_s: int = 180
    timeouts_s: int = 20
    env: tuple[tuple[str, str], ...] = ()
    left_on: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    podman: bool = False
    quick: bool = False

    @property
    def id(self) -> str:
        """Name of the cell."""
        return f"{self.fault}-{self.phase}".replace(" ", "_")


# -- what is done to hosts ------------------------------------------------------------------------------


def power_loss(at: Situation) -> None:
    at.victim.power_off()


def sshd_killed(at: Situation) -> None:
    at.victim.kill_sshd()


def sshd_restarted(at: Situation) -> None:
    at.victim.kill_sshd()
    time.sleep(3)
    at.victim.start_sshd()


def link_blinks(at: Situation) -> None:
    at.victim.link(up=False)
    time.sleep(4)
    at.victim.link(up=True)


def link_down(at: Situation) -> None:
    at.victim.link(up=False)


def loss(at: Situation) -> None:
    at.victim.disturb(loss=0.3)


def latency(at: Situation) -> None:
    at.victim.disturb(delay_ms=50)


def disk_full(at: Situation) -> None:
    at.victim.fill_disk()


def memory_gone(at: Situation) -> None:
    """Less memory than a host needs for anything but what runs already."""
    at.victim.limit_memory(1 << 20)


def memory_small(at: Situation) -> None:
    """Enough for all but a program that wants ever more."""
    at.victim.limit_memory(192 << 20)


def rank_stopped(at: Situation) -> None:
    for word in ("--output-dir", "deepep_bench"):
        if at.victim.signal(word, signal.SIGSTOP):
            return
    raise AssertionError("there is no rank to stop")


def reinstalled(at: Situation) -> None:
    at.victim.reinstall(trust=False)


def port_taken(at: Situation) -> None:
    """A foreign process takes the meeting point's port before the ranks do."""
    at.run.wait_for(lambda event: event["event"] == "rendezvous")
    port = next(event["master_port"] for event in at.run.events() if event["event"] == "rendezvous")
    script = f"import socket,time; s=socket.socket(); s.bind(('0.0.0.0',{port})); s.listen(); time.sleep(600)"
    foreign = at.head.popen("/usr/bin/python3", "-c", script)
    at.later += [foreign.kill, foreign.wait]


def interrupted(at: Situation) -> None:
    at.run.interrupt()


def second_scenario(at: Situation) -> None:
    """Another scenario comes to the same hosts."""
    folder = at.run.results.parent / "second"
    folder.mkdir()
    second = Launched(at.lab, folder, at.run.hosts)
    code = second.finish()
    found = second.verdict()
    first = found["reasons"][0]["text"] if found.get("reasons") else ""
    assert (code, found.get("verdict")) == (3, "NOT_RUN"), f"{code} {found} {second.output()}"
    assert "in use by session" in first, first
    at.note = f"the second one: NOT_RUN, {first}"


def controller_lost(at: Situation) -> None:
    """Every process of the controller ends at once."""
    at.lab.controller.vanish()


def without_controller(action: Action) -> Action:
    """Returns an action that comes after the controller's end."""

    def both(at: Situation) -> None:
        controller_lost(at)
        action(at)

    return both


# -- the matrix -----------------------------------------------------------------------------------------


def everywhere(cell: Cell, **of_phase: dict[str, Any] | None) -> list[Cell]:
    """Returns a cell for each phase of a run without a container.

    ``of_phase`` has changes of it, None for a phase that makes no sense.
    """
    cells = []
    for phase in MOST_PHASES:
        changes = of_phase.get(phase, {})
        if changes is not None:
            cells.append(replace(cell, phase=phase, **changes))
    return cells


_GONE: dict[str, dict[str, Any]] = {
    "staging": {"verdicts": NOT_RUN, "names": ("node2", "unreachable"), "collected": ()},
    "rendezvous": {"names": ("node2", "unreachable"), "collected": ("node1", "node3")},
    "timing": {"names": ("node2", "unreachable"), "collected": ("node1", "node3")},
    "collecting": {"names": ("node2",), "collected": ("node1", "node3")},
}

LONG = "*:timing:lasts=12"
SLOW_START = "node3:rendezvous:sleep=6 *:timing:lasts=1"
MUCH = "*:write:write=12"


def _program(phase: str) -> str:
    return {RENDEZVOUS: SLOW_START, TIMING: LONG, COLLECTING: MUCH}.get(phase, "")


def _with(base: dict[str, dict[str, Any]], **more: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        phase: {"stand_in": _program(phase), **base.get(phase, {}), **more.get(phase, {})}
        for phase in MOST_PHASES
    }


def _fine(**more: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return _with({phase: {"verdicts": PASS} for phase in MOST_PHASES}, **more)


def _cells() -> list[Cell]:
    base = Cell("", STAGING, FAIL)
    cells = [
        *everywhere(
            replace(base, fault="host loses power", action=power_loss),
            **_with(_GONE, timing={"quick": True}),
        ),
        *everywhere(
            replace(base, fault="sshd killed for good", action=sshd_killed, left_on=("node2",)),
            **_with(_GONE),
        ),
        *everywhere(
            replace(base, fault="sshd killed and back after 3 s", action=sshd_restarted, verdicts=PASS),
            **_fine(
                # What is asked in those 3 s goes unanswered, and nothing is asked twice before the start.
                staging={"verdicts": (*PASS, *NOT_RUN), "names": ("node2",), "collected": ()},
                rendezvous={"verdicts": (*PASS, *FAIL), "names": ("node2",), "collected": ()},
            ),
        ),
        *everywhere(
            replace(base, fault="link down for 4 s", action=link_blinks, verdicts=PASS),
            **_fine(),
        ),
        *everywhere(
            replace(base, fault="link down for good", action=link_down, left_on=("node2",)), **_with(_GONE)
        ),
        *everywhere(
            replace(base, fault="30 % of packets lost", action=loss),
            **_with(
                {
                    phase: {"verdicts": (*PASS, *NOT_RUN, *FAIL), "names": ("node2",), "collected": ()}
                    for phase in MOST_PHASES
                }
            ),
        ),
        *everywhere(replace(base, fault="50 ms latency each way", action=latency), **_fine()),
        *everywhere(
            replace(base, fault="disk full", action=disk_full),
            **_with(
                {},
                staging={
                    "verdicts": NOT_RUN,
                    "names": ("node2", "MiB free"),
                    "collected": (),
                },
                rendezvous={"names": ("node2", "disk")},
                timing={"names": ("node2", "disk"), "quick": True, "stand_in": LONG + " node2:write:write=1"},
                collecting={"verdicts": PASS},
            ),
        ),
        *everywhere(
            replace(base, fault="out of memory"),
            staging={
                "action": memory_gone,
                "verdicts": NOT_RUN,
                "names": ("node2",),
                "collected": (),
            },
            rendezvous={
                "action": memory_small,
                "stand_in": "node2:prepare:eat",
                "names": ("node2", "memory"),
            },
            timing={
                "action": memory_small,
                "stand_in": "node2:timing:eat",
                "sign": "exit code -9",
                "names": ("node2", "memory"),
                "quick": True,
            },
            collecting=None,
        ),
        *everywhere(
            replace(base, fault="rank stopped (SIGSTOP)", action=rank_stopped),
            staging=None,
            rendezvous={"stand_in": SLOW_START, "names": ("node2", "stopped")},
            timing={"stand_in": LONG, "names": ("node2", "stopped")},
            collecting=None,
        ),
        *everywhere(
            replace(base, fault="rank exits with 1"),
            staging=None,
            rendezvous={"stand_in": "node2:rendezvous:exit=1", "names": ("node2", "exit code 1")},
            timing={
                "stand_in": "node2:timing:exit=1 " + LONG,
                "sign": "STAND_IN asked to end with 1",
                "names": ("node2", "exit code 1"),
                "quick": True,
            },
            collecting=None,
        ),
        *everywhere(
            replace(base, fault="rank hangs", time_limit_s=30, timeouts_s=90),
            staging=None,
            rendezvous={
                "stand_in": "node2:rendezvous:hang",
                "verdicts": TIMEOUT,
                "names": ("time limit", "node2 in phase rendezvous"),
            },
            timing={
                "stand_in": "node2:timing:hang " + LONG,
                "sign": "the time limit has passed",
                "verdicts": TIMEOUT,
                "names": ("time limit", "all 3 hosts in phase timing"),
            },
            collecting=None,
        ),
        *everywhere(
            replace(base, fault="host comes back with a new host key", action=reinstalled),
            **_with(
                {
                    **_GONE,
                    "staging": {"verdicts": NOT_RUN, "names": ("node2", "host key"), "collected": ()},
                    "rendezvous": {"names": ("node2", "host key"), "collected": ("node1", "node3")},
                    "timing": {
                        "names": ("node2", "host key"),
                        "collected": ("node1", "node3"),
                        "quick": True,
                    },
                }
            ),
        ),
        replace(
            base,
            fault="foreign process on the port",
            phase=RENDEZVOUS,
            action=port_taken,
            names=("node1", "address already in use"),
        ),
        *everywhere(
            replace(base, fault="Ctrl-C", action=interrupted, exit_code=130),
            **_with(
                {
                    "staging": {"verdicts": NOT_RUN, "collected": (), "names": ("interrupted",)},
                    "rendezvous": {"names": ("interrupted",)},
                    # Long enough for a slow machine: it must not end by itself before the stop arrives.
                    "timing": {
                        "names": ("all 3 hosts", "interrupted"),
                        "quick": True,
                        "stand_in": "*:timing:lasts=90",
                    },
                    "collecting": {"verdicts": (*PASS, *FAIL), "collected": ()},
                }
            ),
        ),
        replace(
            base,
            fault="two scenarios at once",
            phase=TIMING,
            action=second_scenario,
            stand_in="*:timing:lasts=120",
            verdicts=PASS,
            quick=True,
        ),
    ]
    return [*cells, *_on_the_way(), *_real()]


def _on_the_way() -> list[Cell]:
    """While an image comes to node2, from the registry or a host, over a link slow enough to strike then."""
    base = Cell("", IMAGE, NOT_RUN, names=("node2",), collected=())
    any_end = (*PASS, *NOT_RUN, *FAIL)
    return [
        replace(base, fault="host loses power", action=power_loss, quick=True),
        replace(base, fault="sshd killed for good", action=sshd_killed, left_on=("node2",)),
        replace(base, fault="link down for 4 s", action=link_blinks, verdicts=any_end),
        replace(base, fault="link down for good", action=link_down, left_on=("node2",)),
        replace(base, fault="30 % of packets lost", action=loss, verdicts=any_end),
        replace(base, fault="Ctrl-C", action=interrupted, exit_code=130, names=("interrupted",)),
    ]


def _real() -> list[Cell]:
    """The same with the real benchmark, whose ranks watch each other, also without the controller."""
    base = Cell("", TIMING, FAIL, stand_in=None, time_limit_s=600, timeouts_s=120)
    hooked = "DEEPEP_BENCH_FAULT"
    return [
        replace(base, fault="benchmark: rank wrong data", env=((hooked, "wrong-data:rank=1"),),
                names=("wrong data", "rank 1"), sign="wrong data after"),
        replace(base, fault="benchmark: rank killed (SIGKILL)", env=((hooked, "kill:rank=1"),),
                names=("node2",), sign="exitcode: -9"),
        replace(base, fault="benchmark: rank hangs", env=((hooked, "hang:rank=1"),), timeouts_s=45,
                names=("rank 1", "node2", "no progress"), sign="no progress for",
                kept=("stacks.txt", "stacks-rank-0001.txt", "last-lines.txt")),
        replace(base, fault="benchmark: host loses power, controller lost too",
                action=without_controller(power_loss), verdicts=(), collected=()),
        # Containers' processes are not the supervisor's to end alone: the runtime has a say.
        replace(base, fault="benchmark in podman: host loses power, controller lost too", podman=True,
                action=without_controller(power_loss), verdicts=(), collected=()),
        replace(base, fault="benchmark: link down for good, controller lost too",
                action=without_controller(link_down), verdicts=(), collected=()),
        # The stopped host's own processes end at the deadline.
        replace(base, fault="benchmark: rank stopped (SIGSTOP), controller lost too", time_limit_s=100,
                action=without_controller(rank_stopped), verdicts=(), collected=()),
    ]  # fmt: skip


CELLS = _cells()
