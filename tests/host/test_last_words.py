"""What is kept of a run that hangs, by stand-ins for py-spy, nvidia-smi and ibstat, which say so."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.resources import host_code
from tests.host.conftest import OneHost

host_code()

from deepep_host import last_words, stacks  # noqa: E402

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
        asked = last_words.ask_devices(tmp_path)
        stacks.dump([os.getpid()] * 40, tmp_path, str(tmp_path / "stand-ins" / "python"), end)
        last_words.await_devices(asked, tmp_path, end)

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
