"""Listeners and connections between hosts, with real sockets and processes."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compiler.resources import host_code

host_code()

from deepep_host import processes  # noqa: E402
from deepep_host.preflight import reach  # noqa: E402
from deepep_host.verbs import perform  # noqa: E402

PLAN: dict[str, Any] = {
    "runs": [
        {"id": "x/0", "hosts": [{"name": "a"}, {"name": "b"}, {"name": "c"}]},
        {"id": "y/0", "hosts": [{"name": "a"}, {"name": "b"}]},
        {"id": "z/0", "hosts": [{"name": "c"}, {"name": "a"}]},
        {"id": "alone/0", "hosts": [{"name": "b"}]},
    ]
}
SESSION = f"test-reach-{os.getpid()}"
MARKS = {"DEEPEP_RUN_ID": SESSION, "DEEPEP_HOST": "a"}


def alive() -> list[int]:
    """Returns the listeners of these tests that still run."""
    return processes.with_environment(MARKS)


@pytest.fixture
def listener() -> Iterator[dict[str, Any]]:
    """A listener for one other host, ended afterwards."""
    yield reach.listen(SESSION, "a", "lo", one_machine=False, peers=1)
    processes.end_all(alive, 2)


def test_first_hosts_listen_for_the_others_of_their_runs() -> None:
    assert reach.heads(PLAN) == {"a": {"b": ["x/0", "y/0"], "c": ["x/0"]}, "c": {"a": ["z/0"]}}
    listeners = {
        "a": {"address": "10.0.0.1", "ports": [1, 2], "word": "w", "until": 0},
        "c": {"problem": "no"},
    }
    assert reach.targets(PLAN, "b", listeners) == [
        {"host": "a", "address": "10.0.0.1", "ports": [1, 2], "word": "w"}
    ]
    assert reach.targets(PLAN, "a", listeners) == []


def test_stopping_the_session_ends_a_listener_for_which_nobody_came(
    listener: dict[str, Any], tmp_path: Path
) -> None:
    assert len(alive()) == 1
    given = {"work_dir": str(tmp_path), "run_id": SESSION, "host": "a", "cause": "interrupted"}
    assert perform("stop", {**given, "run": "x/0"})["stopped"] == []
    assert len(alive()) == 1
    assert perform("stop", given) == {"changed": False, "stopped": [], "runs": {}}
    assert alive() == []


def test_a_host_that_is_reached_passes_and_the_listener_ends(listener: dict[str, Any]) -> None:
    assert (listener["address"], len(set(listener["ports"]))) == ("127.0.0.1", 2)
    assert len(alive()) == 1
    answers = reach.connect([{"host": "a", **listener}])
    assert answers == [{"host": "a", "problems": []}]
    (line,) = reach.judge(PLAN, "b", {"a": listener}, answers)
    assert (line["result"], line["runs"], line["needs"]) == ("pass", ["x/0", "y/0"], ["peers"])
    end = time.monotonic() + 30
    while alive() and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive()


def test_others_that_connect_are_not_counted(listener: dict[str, Any]) -> None:
    for port in listener["ports"] * 2:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
    assert reach.connect([{"host": "a", **listener}]) == [{"host": "a", "problems": []}]


def test_a_port_that_is_closed_or_of_another_program_fails(listener: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        closed = socket.socket()
        closed.bind(("127.0.0.1", 0))
        ports = [closed.getsockname()[1], listener["ports"][0]]
        asked = {**listener, "host": "a", "ports": ports, "word": "another session"}
        (answer,) = reach.connect([asked])
        closed.close()
        silent = reach.connect([{**asked, "ports": [other.getsockname()[1]]}], patience_s=0.3)
    assert "Connection refused" in answer["problems"][0]
    assert f"answered by another program ('deepep {SESSION} a')" in answer["problems"][1]
    assert "does not answer within" in silent[0]["problems"][0]
    (line,) = reach.judge(PLAN, "b", {"a": listener}, [answer])
    assert (line["result"], "firewall" in line["remedy"]) == ("fail", True)
    (line,) = reach.judge(PLAN, "b", {"a": listener}, [answer], now=listener["until"] + 1)
    assert line["result"] == "unknown"


def test_what_could_not_be_tried_says_why() -> None:
    lines = reach.judge(PLAN, "a", {"c": {"problem": "no free TCP port"}}, [])
    assert [(line["result"], line["text"]) for line in lines] == [
        ("unknown", "not checked: no free TCP port")
    ]
    lines = reach.judge(PLAN, "b", {}, [])
    assert lines[0]["text"] == "not checked: a left no listener"
    assert reach.listen(SESSION, "a", "nonsense0", one_machine=False, peers=1)["problem"]


def test_a_listener_does_not_outlive_its_time() -> None:
    reach.listen(SESSION, "a", "", one_machine=True, peers=1, lifetime_s=0.2)
    end = time.monotonic() + 30
    while alive() and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive()
