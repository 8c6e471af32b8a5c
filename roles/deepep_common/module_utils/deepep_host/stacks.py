"""Where each process of a hanging run stands: py-spy's view where it is installed, the kernel's otherwise."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

from .asked import Asked
from .files import now_iso
from .processes import describe

MAX_PROCESSES = 64


def find_py_spy(python: str) -> str | None:
    """Returns py-spy from beside the program's interpreter, else from the search path."""
    beside = Path(python).with_name("py-spy")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("py-spy")


def dump(pids: list[int], logs: Path, python: str, end: float) -> str:
    """Adds the stacks of ``pids`` to stacks.txt below ``logs``; returns the name of what was used.

    All processes are asked at once, and none beyond the monotonic time ``end``. Raises OSError.
    """
    tool = find_py_spy(python)
    asked = Asked()
    shown = [(pid, f"{describe(pid)}\nkernel: waits in {_wchan(pid)}") for pid in pids[:MAX_PROCESSES]]
    answers: dict[int, IO[bytes]] = {}
    try:
        for pid, _ in shown if tool else ():
            answers[pid] = tempfile.TemporaryFile(dir=logs)  # noqa: SIM115 - closed below, all at once
            asked.ask(str(pid), [str(tool), "dump", "--nonblocking", "--pid", str(pid)], answers[pid])
        late = asked.wait(end)
        with (logs / "stacks.txt").open("ab") as out:
            _line(out, f"# {now_iso()} stacks of {len(pids)} processes before they were ended")
            if tool is None:
                _line(out, "# py-spy is not installed beside the program's Python: kernel view only")
            for pid, text in shown:
                _line(out, f"\n## {text}")
                if pid in answers:
                    answers[pid].seek(0)
                    out.write(answers[pid].read())
                if str(pid) in late:
                    _line(out, "(py-spy took too long)")
    finally:
        for answer in answers.values():
            answer.close()
    return "py-spy" if tool else "kernel"


def _wchan(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/wchan").read_text(encoding="ascii") or "0"
    except OSError:
        return "unknown"


def _line(out: IO[bytes], text: str) -> None:
    out.write(text.encode("utf-8", "replace") + b"\n")
