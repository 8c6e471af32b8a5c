"""A rank that fails, hangs or disappears ends all ranks, and the others name it. No time is asserted."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench_program.launch import (
    PROGRAM,
    Finished,
    clean_environment,
    finish,
    free_port,
    run,
    start,
    write_config,
)
from tests.bench_program.processes import Afresh, Forked, Process, Starter

# a rank that is only slow must not count as lost
CALM = {"heartbeat_interval_s": 0.2, "heartbeat_timeout_s": 60}
QUICK = {"heartbeat_interval_s": 0.2, "heartbeat_timeout_s": 4, "stall_timeout_s": 8}
# so long that only the end of another rank can end it
ENDLESS = {**QUICK, "num_iterations": 10**7}


def assert_nothing_passed(done: Finished) -> None:
    assert all(done.codes)
    for folder in done.folders:
        assert not (folder / "markers").exists()
        assert not (folder / "results").exists()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("wrong-data:rank=3", "wrong data after dispatch at rank 3: token "),
        (
            "wrong-data:rank=3,operation=combine,phase=check_after",
            "wrong data after combine at rank 3: token 0 of rank 3",
        ),
    ],
)
def test_wrong_data_fails_all_hosts(forked: Forked, tmp_path: Path, fault: str, message: str) -> None:
    done = run(forked, tmp_path, hosts=2, ranks_per_host=2, fault=fault, **CALM)
    assert_nothing_passed(done)
    [first] = [line for line in done.outputs[1].splitlines() if line.startswith("[rank 3] wrong data")]
    assert message in first
    assert "channel 3: expected " in first
    assert f"[rank 0] consequence of rank 3 on host node1: {message}" in done.outputs[0]


def test_low_latency_wrong_data_is_caught(forked: Forked, tmp_path: Path) -> None:
    done = run(forked, tmp_path, fault="wrong-data:rank=0", mode="low_latency", data_type="fp8", **CALM)
    assert_nothing_passed(done)
    assert "[rank 0] wrong data after dispatch at rank 0: token " in done.text


def test_the_first_exception_is_published(forked: Forked, tmp_path: Path) -> None:
    done = run(
        forked, tmp_path, hosts=2, ranks_per_host=2, fault="raise:rank=1", num_iterations=10**7, **CALM
    )
    assert_nothing_passed(done)
    assert "[rank 1] Traceback (most recent call last):" in done.outputs[0]
    assert "[rank 1] RuntimeError: DEEPEP_BENCH_FAULT asked for this exception" in done.outputs[0]
    cause = "consequence of rank 1 on host node0: RuntimeError: DEEPEP_BENCH_FAULT asked for this exception"
    assert f"[rank 2] {cause}" in done.outputs[1]
    assert f"[rank 3] {cause}" in done.outputs[1]
    assert "[rank 2] Traceback" not in done.text


def test_out_of_memory_says_what_was_wanted_and_free(forked: Forked, tmp_path: Path) -> None:
    done = run(forked, tmp_path, fault="oom:rank=1,phase=check_before", **CALM)
    assert_nothing_passed(done)
    assert "you tried to allocate 1234567 bytes" in done.text
    assert "[rank 1] rank 1 on host node0 needs about " in done.text


@pytest.mark.parametrize(("killed_host", "start_with"), [(0, "forked"), (1, "afresh")])
def test_a_killed_rank_ends_both_hosts(
    request: pytest.FixtureRequest, tmp_path: Path, killed_host: int, start_with: str
) -> None:
    """Host 0 holds the store, which goes with it; host 1 leaves the store alive."""
    starter: Starter = request.getfixturevalue(start_with)
    done = run(starter, tmp_path, hosts=2, ranks_per_host=1, fault=f"kill:rank={killed_host}", **ENDLESS)
    assert_nothing_passed(done)
    other = done.outputs[1 - killed_host]
    if killed_host == 1:
        assert "rank 1 on host node1: silent for " in other
    else:
        assert (
            "[rank 1] lost the store at 127.0.0.1:" in other or "rank 0 on host node0: silent for " in other
        )


def test_a_hanging_rank_is_named(forked: Forked, tmp_path: Path) -> None:
    done = run(forked, tmp_path, hosts=2, ranks_per_host=2, fault="hang:rank=2", **ENDLESS)
    assert_nothing_passed(done)
    assert "rank 2 on host node1: no progress for 8 s, others wait for it" in done.outputs[0]


def test_hosts_with_different_configurations_are_refused(forked: Forked, tmp_path: Path) -> None:
    done = finish(start(forked, tmp_path, 2, 1, {}, of_host={1: {"seed": 8}}, **CALM), tmp_path)
    assert_nothing_passed(done)
    assert "host node1 and host node0 were given different seed" in done.text


# ---- without torchrun: rank 0 serves the store, and each process can be treated on its own

Ranks = Callable[..., "tuple[list[Process], list[Path]]"]


@pytest.fixture
def ranks(forked: Forked, tmp_path: Path) -> Iterator[Ranks]:
    """Starts ``size`` ranks, each as a host of its own; all are killed at the end."""
    started: list[Process] = []

    def begin(size: int = 2, starter: Starter = forked, **config: Any) -> tuple[list[Process], list[Path]]:
        path = write_config(tmp_path / "config.yaml", **config)
        port = free_port()
        outputs = []
        for rank in range(size):
            place = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
            given = {**place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "DEEPEP_HOST": f"node{rank}"}
            environment = {**clean_environment(), **{k: str(v) for k, v in given.items()}}
            outputs.append(tmp_path / f"{rank}.txt")
            arguments = [str(PROGRAM), f"--config={path}", f"--output-dir={tmp_path / f'out{rank}'}"]
            started.append(starter.start("program", arguments, environment, outputs[-1]))
        return started, outputs

    yield begin
    for process in started:
        process.kill()
        process.wait(timeout=60)


def wait_for_timing(tmp_path: Path, size: int = 2) -> None:
    """All ranks are in the timed part. The limit only keeps a broken program from hanging the tests."""
    for _ in range(600):
        files = [tmp_path / f"out{rank}" / "progress.json" for rank in range(size)]
        if all(file.is_file() and '"timing"' in file.read_text() for file in files):
            return
        time.sleep(0.1)
    pytest.fail("the ranks did not reach the timed part")


def test_alone_without_torchrun(ranks: Ranks, afresh: Afresh) -> None:
    processes, outputs = ranks(size=1, starter=afresh)
    assert processes[0].wait(timeout=120) == 0, outputs[0].read_text()


def test_a_frozen_rank_is_named(ranks: Ranks, tmp_path: Path) -> None:
    processes, outputs = ranks(**ENDLESS)
    wait_for_timing(tmp_path)
    processes[1].send_signal(signal.SIGSTOP)
    assert processes[0].wait(timeout=120) == 6
    assert "rank 1 on host node1: silent for " in outputs[0].read_text()
    # Its own sentinel ends it, without its launcher.
    assert processes[1].wait(timeout=120) == -signal.SIGKILL
    assert "[rank 1] stopped for " in outputs[1].read_text()


def test_a_frozen_store_ends_the_others(ranks: Ranks, tmp_path: Path) -> None:
    """As when the host of rank 0 drops off the network: nobody closes the connection."""
    processes, outputs = ranks(**ENDLESS)
    wait_for_timing(tmp_path)
    processes[0].send_signal(signal.SIGSTOP)
    assert processes[1].wait(timeout=120) == 7
    text = outputs[1].read_text()
    assert "[rank 1] lost the store at 127.0.0.1:" in text
    assert "no answer for " in text


def test_a_dead_store_ends_the_others(ranks: Ranks, tmp_path: Path) -> None:
    processes, outputs = ranks(**ENDLESS)
    wait_for_timing(tmp_path)
    processes[0].kill()
    assert processes[1].wait(timeout=120) in (3, 7)
    assert "the store" in outputs[1].read_text()


def test_sigterm_ends_a_rank_that_waits_for_a_frozen_one(ranks: Ranks, tmp_path: Path) -> None:
    processes, outputs = ranks(**{**ENDLESS, "heartbeat_timeout_s": 60, "stall_timeout_s": 60})
    wait_for_timing(tmp_path)
    processes[1].send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    processes[0].send_signal(signal.SIGTERM)
    assert processes[0].wait(timeout=50) == 143
    assert "[rank 0] ended by SIGTERM from its launcher during timing dispatch" in outputs[0].read_text()


def test_a_bad_fault_is_refused(forked: Forked, tmp_path: Path) -> None:
    done = run(forked, tmp_path, ranks_per_host=1, fault="explode:rank=0")
    assert done.codes == [1]
    assert "refused: DEEPEP_BENCH_FAULT='explode:rank=0'" in done.text


def test_help_lists_the_exit_codes(torch_python: Path) -> None:
    done = subprocess.run([torch_python, PROGRAM, "--help"], capture_output=True, text=True, check=True)
    assert "another rank's failure" in done.stdout
