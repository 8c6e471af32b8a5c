"""What is kept of a run that hangs, by stand-ins for py-spy, nvidia-smi and ibstat, which say so."""

from __future__ import annotations

import importlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.resources import host_code
from tests.bench_program.launch import PROGRAM, SMALL, free_port
from tests.host.conftest import OneHost

host_code()

from deepep_host import asked, control, last_words, stacks, supervisor  # noqa: E402

RECORDED = Path(__file__).parents[1] / "preflight/recorded/h100-x4/commands/nvidia-smi_-q_-x.out"
IBSTAT = Path(__file__).parent / "fixtures" / "ibstat.txt"

ANSWERS = {
    "py-spy": 'echo "stand-in for py-spy: $*"',
    "nvidia-smi": f'echo "stand-in for nvidia-smi $*: a recording of nvidia-smi -q -x"; cat {RECORDED}',
    "ibstat": f'echo "stand-in for ibstat: its format, not a recording"; cat {IBSTAT}',
}


class StandIns:
    """Programs first on the search path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    def make(self, name: str, script: str) -> None:
        """Makes one of a shell script."""
        path = self._folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def hangs(self, name: str) -> None:
        """Makes one that never answers, deaf to SIGTERM, with a child that keeps its output open."""
        note = self._folder / "children"
        self.make(
            name, f"trap '' TERM; sleep 600 & echo $! >>{note}; echo $$ >>{note}; echo half; exec sleep 600"
        )

    def end(self) -> None:
        """Ends what hangs."""
        note = self._folder / "children"
        for pid in note.read_text().split() if note.exists() else ():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIns]:
    """Stand-ins on the search path of this process and of what it starts."""
    folder = tmp_path / "stand-ins"
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    made = StandIns(folder)
    yield made
    made.end()


def test_many_that_never_answer_share_one_end(stand_ins: StandIns, tmp_path: Path) -> None:
    """Each waited for on its own, they would take minutes; those whose output stays open, for ever."""
    for tool in ("py-spy", "nvidia-smi", "ibstat"):
        stand_ins.hangs(tool)

    def take() -> None:
        end = time.monotonic() + 2
        devices = last_words.ask_devices(tmp_path)
        stacks.dump([os.getpid()] * 40, tmp_path, str(tmp_path / "stand-ins" / "python"), end)
        last_words.await_devices(devices, tmp_path, end)

    taking = threading.Thread(target=take, daemon=True)
    taking.start()
    taking.join(60)
    assert not taking.is_alive()
    assert (tmp_path / "stacks.txt").read_text().count("(py-spy took too long)") == 40
    assert "(nvidia-smi -q took too long)" in (tmp_path / "nvidia-smi.txt").read_text()
    assert "(ibstat took too long)" in (tmp_path / "ibstat.txt").read_text()


def test_one_that_cannot_be_started_does_not_cost_the_others(stand_ins: StandIns, tmp_path: Path) -> None:
    (tmp_path / "stand-ins" / "nvidia-smi").write_bytes(b"\x7fELF no program")
    (tmp_path / "stand-ins" / "nvidia-smi").chmod(0o755)
    stand_ins.make("ibstat", ANSWERS["ibstat"])
    last_words.await_devices(last_words.ask_devices(tmp_path), tmp_path, time.monotonic() + 60)
    assert "cannot be started: Exec format error" in (tmp_path / "nvidia-smi.txt").read_text()
    assert "State: Active" in (tmp_path / "ibstat.txt").read_text()


def test_at_the_deadline_everything_is_asked(host: OneHost, stand_ins: StandIns) -> None:
    for name, script in ANSWERS.items():
        stand_ins.make(name, script)
    words = ["warn=[rank 0] about to dispatch", "warn=[rank 1] about to wait", "say=hello", "sleep=600"]
    host.stage(run={"words": words, "time_limit_s": 3})
    pid = host.start("run")["program_pid"]
    assert host.wait("run")["stacks"] == "py-spy"
    logs = host.folder("run") / "logs"
    assert f"stand-in for py-spy: dump --nonblocking --pid {pid}\n" in (logs / "stacks.txt").read_text()
    last = (logs / "last-lines.txt").read_text()
    assert "## rank 0\nstderr: [rank 0] about to dispatch\n" in last
    assert "## rank 1\nstderr: [rank 1] about to wait\n" in last
    assert "## no rank named\nstdout: hello\n" in last
    assert (logs / "nvidia-smi.txt").read_text().startswith("stand-in for nvidia-smi -q: a recording")
    assert "State: Active" in (logs / "ibstat.txt").read_text()


@pytest.mark.parametrize(
    ("fault", "ranks", "silence_s", "said"),
    [
        # Seen by the ranks themselves, which wait for the look and then end.
        ("hang:rank=1", 2, 60, "rank 1 on host node1: no progress for 8 s, others wait for it"),
        # Seen by the sentinel of the one that nothing in Python can end.
        ("stop:rank=0", 1, 4, "[rank 0] stopped for "),
    ],
)
def test_the_bundled_program_is_looked_at_before_it_ends_itself(
    host: OneHost, stand_ins: StandIns, torch_python: Path, fault: str, ranks: int, silence_s: int, said: str
) -> None:
    for name, script in ANSWERS.items():
        stand_ins.make(name, script)
    quick = {"heartbeat_interval_s": 0.2, "heartbeat_timeout_s": silence_s, "stall_timeout_s": 8}
    argv = [
        {"join": [{"var": "python"}]}, "-m", "torch.distributed.run", "--nnodes=1",
        f"--nproc-per-node={ranks}", "--master-addr=127.0.0.1", f"--master-port={free_port()}",
        "--rdzv-backend=static", "--max-restarts=0", {"join": [{"var": "program_dir"}, "/deepep_bench"]},
        {"join": ["--config=", {"var": "run_dir"}, "/config.yaml"]},
        {"join": ["--output-dir=", {"var": "run_dir"}]},
    ]  # fmt: skip
    env = {"DEEPEP_BENCH_FAULT": fault, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    config = {**SMALL, **quick, "num_iterations": 10**7}
    host.stage(run={"argv": argv, "env": env, "config": config, "ranks_per_host": ranks, "time_limit_s": 300})
    control.start(host.base, host.work_dir, "run/0", "127.0.0.1", 20000, str(torch_python))
    state = host.wait("run")
    logs = host.folder("run") / "logs"
    assert said in (logs / "stderr.txt").read_text()
    assert (state["outcome"], state["exit_code"], state["stacks"]) == ("exited", 1, "py-spy")
    told = (logs / "stacks.txt").read_text()
    assert told.count("## pid ") > 2 * ranks  # the launcher, each rank, and its sentinel
    assert "stand-in for py-spy: dump --nonblocking --pid" in told
    assert (logs / "last-lines.txt").exists()
    assert (logs / "nvidia-smi.txt").read_text().startswith("stand-in for nvidia-smi -q: a recording")
    assert "State: Active" in (logs / "ibstat.txt").read_text()
    if fault.startswith("hang"):
        # Who asks has said why before; the others may not have heard of it yet.
        assert "## rank " in (logs / "last-lines.txt").read_text()
    for rank in range(ranks) if fault.startswith("hang") else ():
        own = (logs / f"stacks-rank-{rank:04d}.txt").read_text()
        assert "session.py" in own
        assert ("faults.py" in own) == (rank == 1)
    assert host.marked() == []


def test_both_sides_mean_the_same_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    witness = importlib.import_module("deepep_bench.witness")
    assert (witness.ASKED, witness.TAKEN) == (asked.ASKED, asked.TAKEN)
    assert witness.LOOK_S > asked.ASKED_S + supervisor.TICK_S
