"""The supervisor with real processes: however a run ends, its end is recorded and nothing is left running."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from compiler.resources import host_code
from tests.host.conftest import OneHost, wait_until

host_code()

from deepep_host import control, processes, supervisor  # noqa: E402
from deepep_host.lock import HostInUse, acquire, lock_path  # noqa: E402
from deepep_host.state import COMPILE_S, guardian_of, supervisor_of  # noqa: E402

HANG = ["ignore-term", "spawn=600", "spawn=600", "phase=timing", "sleep=600"]
"""A program, and two children in sessions of their own, that all ignore SIGTERM."""


def children(host: OneHost, name: str, count: int) -> list[int]:
    """Waits for the children that the stand-in spawned and returns their pids."""
    path = host.folder(name) / "children.txt"
    wait_until(lambda: path.exists() and len(path.read_text().split()) == count)
    return [int(pid) for pid in path.read_text().split()]


def alive(pids: list[int]) -> list[int]:
    """Returns those of ``pids`` that still run; one that waits to be reaped by a stranger does not."""
    return [pid for pid in pids if processes.state_of(pid) not in (None, "Z", "X")]


def test_a_program_that_ends_well_leaves_state_logs_and_no_process(host: OneHost) -> None:
    host.stage(
        run={"words": ["say=to stdout", "warn=to stderr", "phase=write"], "env": {"A": "1", "B": "${A}2"}}
    )
    assert host.start("run")["status"] in ("running", "ended")
    state = host.wait("run")
    assert (state["outcome"], state["exit_code"], state["cause"]) == ("exited", 0, None)
    assert state["phase"] == "write"
    assert state["first_failure_at"] is None
    assert state["leftovers"] == []
    folder = host.folder("run")
    assert (folder / "logs/stdout.txt").read_text() == "to stdout\n"
    assert (folder / "logs/stderr.txt").read_text() == "to stderr\n"
    assert "export B=12\n" in (folder / "env_vars.sh").read_text()
    assert (folder / "config.yaml").read_text() == "tokens: 8\n"
    assert 'inventory_name = "node1"' in (folder / "metadata.toml").read_text()
    assert host.marked() == []


def test_a_program_that_fails_is_recorded_with_its_exit_code_and_time(host: OneHost) -> None:
    host.stage(run={"words": ["exit=3"]})
    host.start("run")
    state = host.wait("run")
    assert (state["outcome"], state["exit_code"]) == ("exited", 3)
    assert state["cause"] == "the program ended with exit code 3"
    assert state["first_failure_at"] == state["ended_at"]


def test_a_program_killed_by_a_signal_is_recorded_with_the_signal(host: OneHost) -> None:
    host.stage(run={"words": ["signal=9"]})
    host.start("run")
    state = host.wait("run")
    assert (state["outcome"], state["exit_code"]) == ("exited", -9)
    assert "SIGKILL" in state["cause"]


def test_a_hang_is_ended_at_the_deadline_with_all_descendants_and_their_stacks_kept(host: OneHost) -> None:
    host.stage(run={"words": HANG, "time_limit_s": 10})
    host.start("run")
    pids = children(host, "run", 2)
    state = host.wait("run")
    assert state["outcome"] == "timeout"
    assert "time limit of 10 s, in phase timing" in state["cause"]
    assert state["leftovers"] == []
    assert alive(pids) == []
    assert host.marked() == []
    stacks = (host.folder("run") / "logs/stacks.txt").read_text()
    assert all(f"pid {pid} " in stacks for pid in pids)


def test_the_deadline_waits_while_kernels_are_compiled(host: OneHost) -> None:
    words = ["phase=compile", "sleep=3", "phase=timing", "sleep=600"]
    host.stage(run={"words": words, "time_limit_s": 8})
    host.start("run")
    state = host.wait("run")
    assert state["outcome"] == "timeout"
    assert "time limit of 8 s, in phase timing; " in state["cause"]
    assert " s of compiling before are not counted" in state["cause"]
    assert state["compile_s"] > 0
    # Both are rounded to ms.
    assert state["elapsed_s"] >= 8 + state["compile_s"] - 0.01


def test_compiling_without_an_end_is_counted_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: now[0])
    spec = {"run_id": "x", "run": "run/0", "host": "node1", "time_limit_s": 60}
    one = supervisor.Supervisor(tmp_path, spec)
    one._enter("compile")
    for _ in range(20):
        now[0] += 20
        one._wait_for_kernels()
    assert one._deadline == 1000 + 60 + COMPILE_S
    one._enter("check_before")
    assert one._state["compile_s"] == COMPILE_S
    now[0] += 20
    one._wait_for_kernels()
    assert one._deadline == 1000 + 60 + COMPILE_S


def test_a_stopped_process_does_not_outlive_a_stop(host: OneHost) -> None:
    host.stage(run={"words": ["sleep=600"]})
    pid = host.start("run")["program_pid"]
    os.kill(pid, signal.SIGSTOP)
    state = control.stop(host.folder("run"), "enough")
    assert state is not None
    assert (state["outcome"], state["cause"]) == ("stopped", "enough")
    assert alive([pid]) == []


def test_what_stands_still_does_not_tell_of_those_that_waited_for_it(host: OneHost) -> None:
    host.stage(run={"words": ["sleep=600"]})
    os.kill(host.start("run")["program_pid"], signal.SIGSTOP)
    wait_until(lambda: host.state("run")["still"])
    state = control.stop(host.folder("run"), "node1 failed first: timed out")
    assert state is not None
    assert state["outcome"] == "stopped"
    assert state["cause"].startswith("stopped by a signal (SIGSTOP or a debugger): pid ")
    assert "node1" not in state["cause"]


def test_a_stop_ends_descendants_that_ignore_sigterm_and_is_no_failure_of_its_own(host: OneHost) -> None:
    host.stage(run={"words": HANG})
    host.start("run")
    pids = children(host, "run", 2)
    state = control.stop(host.folder("run"), "node2 failed first")
    assert state is not None
    assert (state["outcome"], state["cause"], state["first_failure_at"]) == (
        "stopped",
        "node2 failed first",
        None,
    )
    assert alive(pids) == []
    assert control.stop(host.folder("run"), "again") == state


def test_a_killed_supervisor_leaves_no_process_and_the_run_counts_as_lost(host: OneHost) -> None:
    host.stage(run={"words": HANG})
    supervisor = host.start("run")["pid"]
    pids = children(host, "run", 2)
    os.kill(supervisor, signal.SIGKILL)
    state = host.wait("run")
    assert state["outcome"] == "lost"
    assert "signal 9" in state["cause"]
    assert alive(pids) == []
    assert host.marked() == []


def test_when_supervisor_and_guardian_are_killed_the_next_look_ends_what_is_left(host: OneHost) -> None:
    host.stage(run={"words": HANG})
    state = host.start("run")
    pids = children(host, "run", 2)
    os.kill(state["guardian"]["pid"], signal.SIGKILL)
    os.kill(state["pid"], signal.SIGKILL)
    keepers = [guardian_of(state), supervisor_of(state)]
    # A signal is sent before it has worked, and while either lives the run counts as running.
    wait_until(lambda: not any(processes.is_alive(keeper) for keeper in keepers if keeper))
    seen = control.observe(host.folder("run"))
    assert seen is not None
    assert seen["outcome"] == "lost"
    assert alive(pids) == []


def test_a_run_from_before_a_reboot_counts_as_lost(host: OneHost) -> None:
    host.stage(run={"words": ["sleep=600"]})
    host.start("run")
    folder = host.folder("run")
    control.stop(folder, "to have its end")
    # Until it has ended the guardian may find that nobody wrote an end, and do so.
    keepers = [guardian_of(host.state("run")), supervisor_of(host.state("run"))]
    wait_until(lambda: not any(processes.is_alive(keeper) for keeper in keepers if keeper))
    control.write_state(
        folder, {**host.state("run"), "status": "running", "outcome": None, "boot_id": "another boot"}
    )
    seen = control.observe(folder)
    assert seen is not None
    assert (seen["outcome"], seen["cause"]) == ("lost", "this host was restarted during the run")


def test_what_a_program_leaves_running_is_recorded_and_ended(host: OneHost) -> None:
    host.stage(run={"words": ["spawn=600"]})
    host.start("run")
    state = host.wait("run")
    (pid,) = children(host, "run", 1)
    assert (state["outcome"], state["exit_code"]) == ("exited", 0)
    assert [text for text in state["leftovers"] if text.startswith(f"pid {pid} ")]
    assert alive([pid]) == []


def test_a_program_that_does_not_exist_is_a_failed_start_that_names_it(host: OneHost) -> None:
    host.stage(run={"argv": ["/nonexistent/python", "-m", "x"]})
    state = host.start("run")
    assert state["outcome"] == "start_failed"
    assert "/nonexistent/python" in state["cause"]


def test_a_supervisor_that_comes_up_too_late_does_not_go_on(
    host: OneHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.stage(run={"words": ["sleep=600"]})
    monkeypatch.setattr(control, "START_S", 0.0)
    monkeypatch.setenv("DEEPEP_TEST_STARTED", host.run_id)
    state = host.start("run")
    assert (state["outcome"], state["leftovers"]) == ("start_failed", [])
    assert processes.with_environment({"DEEPEP_TEST_STARTED": host.run_id}) == []
    assert host.state("run") == state


def test_a_supervisor_that_ends_while_it_is_asked_to_stop_is_no_error(
    host: OneHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.stage(run={"words": ["sleep=600"]})
    host.start("run")
    is_alive = processes.is_alive

    def just_before_its_end(keeper: processes.Identity) -> bool:
        alive = is_alive(keeper)
        if alive:
            os.kill(keeper.pid, signal.SIGKILL)
            wait_until(lambda: processes.start_ticks(keeper.pid) is None)
        return alive

    with monkeypatch.context() as patch:
        patch.setattr(processes, "is_alive", just_before_its_end)
        assert not control.ask_to_stop(host.folder("run"), "enough")
    assert host.wait("run")["outcome"] == "lost"


def test_progress_that_replaces_another_of_the_same_time_is_seen(tmp_path: Path) -> None:
    spec = {"run_id": "x", "run": "run/0", "host": "node1", "time_limit_s": 60}
    one = supervisor.Supervisor(tmp_path, spec)
    for phase in ("warmup", "timing"):
        (tmp_path / "new").write_text(json.dumps({"phase": phase}))
        os.utime(tmp_path / "new", (1, 1))
        (tmp_path / "new").replace(tmp_path / "progress.json")
        one._follow()
        assert one._state["phase"] == phase


def test_a_run_is_not_started_twice(host: OneHost) -> None:
    host.stage(run={"words": ["say=once", "sleep=600"]})
    first = host.start("run")
    assert host.start("run")["pid"] == first["pid"]


def test_runs_of_one_session_share_a_host_and_another_session_is_refused(
    host: OneHost, tmp_path: Path
) -> None:
    host.stage(one={"words": ["sleep=600"]}, two={"words": ["sleep=600"]})
    # Staged before the first one started: the supervisor has to refuse it.
    other = OneHost(tmp_path, run_id="20260101_000001-bbbbbb")
    other.stage(run={"words": ["sleep=600"]})
    assert host.start("one")["status"] == "running"
    assert host.start("two")["status"] == "running"
    with pytest.raises(HostInUse, match=host.run_id):
        OneHost(tmp_path, run_id="20260101_000002-cccccc").stage(run={})
    state = other.start("run")
    assert state["outcome"] == "start_failed"
    assert host.run_id in state["cause"]
    control.stop_runs(host.base, "", "make room")
    os.close(acquire(lock_path(host.work_dir, host.name), other.run_id))


@pytest.mark.parametrize("run", ["../../etc", "Tests.1/../../0", "/etc", "Tests.1//0", "a\0b"])
def test_an_id_that_leaves_the_work_directory_is_refused(host: OneHost, run: str) -> None:
    with pytest.raises(ValueError):
        control.run_dir(host.base, run)
