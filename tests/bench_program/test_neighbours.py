"""Sentinels tell each other, over real connections, that a rank or a host is gone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.bench_program.launch import PROGRAM, free_port
from tests.host.conftest import wait_until

SILENCE_S = 3.0
SENTINEL = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from deepep_bench.neighbours import Neighbours, listen
rank = int(sys.argv[2])
listener, address = listen("127.0.0.1", int(sys.argv[3]))
there = Neighbours(listener, address[2], rank, f"node{rank}", 0.1, float(sys.argv[4]))
print(json.dumps(address), flush=True)
for line in sys.stdin:
    said = json.loads(line)
    if said == "news":
        print(json.dumps(there.news), flush=True)
    elif said == "leave":
        there.leave()
        break
    elif said == "fail":
        there.tell({"rank": rank, "host": f"node{rank}", "text": "its process ended"})
        break
    else:
        there.call(*said)
"""


class Sentinel:
    """A process with connections like a sentinel's, without a rank."""

    def __init__(self, rank: int, port: int) -> None:
        arguments = [str(PROGRAM.parent), str(rank), str(port), str(SILENCE_S)]
        self.rank = rank
        self.process = subprocess.Popen(
            [sys.executable, "-c", SENTINEL, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = self._read()

    def say(self, said: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(said) + "\n")
        self.process.stdin.flush()

    def news(self) -> Any:
        self.say("news")
        return self._read()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


Ring = Callable[[int], Sequence[Sentinel]]


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Each is connected to the next, the last to the first."""
    started: list[Sentinel] = []

    def begin(size: int) -> Sequence[Sentinel]:
        port = free_port()
        started.extend(Sentinel(rank, port) for rank in range(size))
        for one, other in zip(started, [*started[1:], started[0]], strict=True):
            one.say([other.rank, f"node{other.rank}", other.address])
        for one in started:
            wait_until(lambda one=one: connections(one.process.pid) == 2)
        return started

    yield begin
    for each in started:
        each.process.kill()
        each.process.communicate()


def connections(pid: int) -> int:
    """Connections of a process to others that are established."""
    inodes = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            inodes.add(str(Path(entry.path).readlink()).removeprefix("socket:[").removesuffix("]"))
        except OSError:
            continue
    with Path("/proc/net/tcp").open() as table:
        rows = [line.split() for line in table][1:]
    return sum(row[3] == "01" and row[9] in inodes for row in rows)


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (lambda gone: gone.say("fail"), "its process ended"),
        (lambda gone: gone.process.kill(), "its process ended"),
        (
            lambda gone: gone.process.send_signal(signal.SIGSTOP),
            f"silent for {SILENCE_S:g} s: its host is lost",
        ),
    ],
    ids=["said", "killed", "silent"],
)
def test_all_hear_of_the_first_end_also_those_that_are_far_away(
    ring: Ring, end: Callable[[Sentinel], None], text: str
) -> None:
    sentinels = ring(6)
    end(sentinels[2])
    for each in (*sentinels[:2], *sentinels[3:]):
        wait_until(each.news)
        news = each.news()
        assert (news["rank"], news["host"]) == (2, "node2")
        assert news["text"].startswith(text)


def test_who_leaves_is_not_missed(ring: Ring) -> None:
    sentinels = ring(3)
    sentinels[1].say("leave")
    assert sentinels[1].process.wait(timeout=60) == 0
    wait_until(lambda: connections(sentinels[0].process.pid) == connections(sentinels[2].process.pid) == 1)
    assert [sentinels[0].news(), sentinels[2].news()] == [None, None]


def test_a_stranger_is_not_heard(ring: Ring) -> None:
    [alone] = ring(1)[:1]
    address, port, token = alone.address
    for hello in (
        b"GET / HTTP/1.1\r\n\r\n",
        json.dumps(["0" * len(token), 7, "node7"]).encode() + b"\n",
        b"7\n",
    ):
        with socket.create_connection((address, port), timeout=60) as connection:
            connection.sendall(hello + b'{"rank": 7, "host": "node7", "text": "its process ended"}\n')
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b"", "it was answered"
    assert alone.news() is None
