"""Measures what Ansible costs around one test on many hosts: ``python -m tests.benchmark.cluster``.

A benchmark, not a test. Hosts and controller share one machine (tests/cluster/README.md): wall time is
what its processors do for all of them. The controller's own processor time is given apart: on a real cluster,
where hosts have processors of their own, it is what grows with their number.

The program is a stand-in that takes next to no time; what it took is subtracted. Aims per test: 6, 12, 30 s
on 4, 8, 32 hosts with 2 processors.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from tests.cluster.lab import Lab, why_not
from tests.cluster.runs import COMPILER, Launched

ANSIBLE = COMPILER.with_name("ansible")
PLAYBOOK = COMPILER.with_name("ansible-playbook")
SEVEN = """- hosts: all
  gather_facts: false
  tasks:
""" + "".join(f"    - name: Task {number}\n      ansible.builtin.command: 'true'\n" for number in range(1, 8))
AS_OURS = {
    "ANSIBLE_PIPELINING": "1",
    "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=60s",
}
COLUMNS = ("hosts", "`ansible -m ping`", "seven plain tasks", "one test more", "its controller CPU",
           "its hosts' CPU", "session of one test")  # fmt: skip
TESTS = 4
MODEL_UP_TO = (64, 128, 256)


def main(argv: list[str]) -> int:
    """Prints a row per number of hosts, then the model."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.cluster", description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="+", default=[4, 8, 16, 32], help="default: 4 8 16 32")
    args = parser.parse_args(argv)
    reason = why_not()
    if reason:
        print(f"not measured: {reason}", file=sys.stderr)
        return 0
    load = os.getloadavg()[0]
    print(f"{len(os.sched_getaffinity(0))} processors, load {load:.1f} before\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    rows = []
    for number in args.hosts:
        with Lab(number) as lab, tempfile.TemporaryDirectory() as folder:
            rows.append((number, *_measure(lab, Path(folder))))
        n, ping, seven, test, cpu, of_hosts, session = rows[-1]
        print(f"| {n} | {ping:.1f} s | {seven:.1f} s | **{test:.1f} s** | {cpu:.1f} s | {of_hosts:.1f} s "
              f"| {session:.1f} s |", flush=True)  # fmt: skip
    if len(rows) > 1:
        _model([row[0] for row in rows], [row[3] for row in rows], "one test more")
        _model([row[0] for row in rows], [row[4] for row in rows], "its controller CPU")
    return 0


def _measure(lab: Lab, folder: Path) -> tuple[float, float, float, float, float, float]:
    inventory = lab.inventory(folder / "hosts.json")
    forks = str(len(lab.hosts))
    common = ("-i", inventory, "-f", forks)
    # Connections are there from then on, as they are when a session's first test begins.
    lab.controller.run(ANSIBLE, *common, "all", "-m", "ping", env=AS_OURS)
    ping = _seconds(lab, ANSIBLE, *common, "all", "-m", "ping")
    (folder / "seven.yml").write_text(SEVEN)
    seven = _seconds(lab, PLAYBOOK, *common, folder / "seven.yml")
    session, _, _, _ = _session(lab, folder / "one", 1)
    _, tests, cpu_more, hosts_more = _session(lab, folder / "more", TESTS)
    _, _, cpu_one, hosts_one = _session(lab, folder / "again", 1)
    more = TESTS - 1
    return (
        ping,
        seven,
        statistics.median(tests[1:]),
        (cpu_more - cpu_one) / more,
        (hosts_more - hosts_one) / more,
        session,
    )


def _seconds(lab: Lab, *argv: str | Path) -> float:
    begun = time.monotonic()
    lab.controller.run(*argv, check=True, env=AS_OURS)
    return time.monotonic() - begun


def _session(lab: Lab, folder: Path, tests: int) -> tuple[float, list[float], float, float]:
    """Returns wall time of a session, overhead of each test, CPU of controller and of hosts, all in s."""
    folder.mkdir()
    before = lab.controller.group.cpu_s(), sum(host.group.cpu_s() for host in lab.hosts)
    begun = time.monotonic()
    run = Launched(lab, folder, lab.hosts, stand_in="*:timing:lasts=0", tests=tests, time_limit_s=600)
    if run.finish() != 0:
        sys.exit(run.output())
    wall = time.monotonic() - begun
    after = lab.controller.group.cpu_s(), sum(host.group.cpu_s() for host in lab.hosts)
    marks: list[float] = []
    overheads = []
    longest: dict[str, float] = {}
    for event in run.events():
        at = datetime.fromisoformat(event["t"].replace("Z", "+00:00")).timestamp()
        if event["event"] == "task" and "where its ranks meet" in str(event.get("task")):
            marks.append(at)
        elif event["event"] == "ended":
            longest[event["run"]] = max(longest.get(event["run"], 0.0), float(event["elapsed_s"] or 0))
        elif event["event"] == "verdict":
            overheads.append(at - marks[-1] - longest[event["run"]])
    return wall, overheads, after[0] - before[0], after[1] - before[1]


def _model(hosts: list[int], seconds: list[float], what: str) -> None:
    """Prints a straight line through the points and where it leads."""
    slope, start = statistics.linear_regression(hosts, seconds)
    ahead = ", ".join(f"{n}: {start + slope * n:.0f} s" for n in MODEL_UP_TO)
    worst = max(abs(start + slope * n - s) for n, s in zip(hosts, seconds, strict=True))
    print(f"\n{what} = {start:.2f} s + {slope:.3f} s per host (at most {worst:.1f} s off); {ahead}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
