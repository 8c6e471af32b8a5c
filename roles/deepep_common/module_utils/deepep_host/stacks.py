"""Where each process of a hanging run stands: py-spy's view where it is installed, the kernel's otherwise."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import IO

from .files import now_iso
from .processes import describe

TIMEOUT_S = 10.0
MAX_PROCESSES = 64


def find_py_spy(python: str) -> str | None:
    """Returns py-spy from beside the program's interpreter, else from the search path."""
    beside = Path(python).with_name("py-spy")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("py-spy")


def dump(pids: list[int], logs: Path, python: str) -> str:
    """Writes the stacks of ``pids`` to stacks.txt below ``logs``; returns the name of what was used.

    All processes are asked at once and for at most ``TIMEOUT_S`` seconds: a dump never delays a kill long.
    """
    tool = find_py_spy(python)
    with (logs / "stacks.txt").open("ab") as out:
        _line(out, f"# {now_iso()} stacks of {len(pids)} processes before they were ended")
        if tool is None:
            _line(out, "# py-spy is not installed beside the program's Python: kernel view only")
        asked: list[tuple[int, subprocess.Popen[bytes]]] = []
        for pid in pids[:MAX_PROCESSES] if tool else ():
            asked.append(
                (
                    pid,
                    subprocess.Popen(  # noqa: S603 - a fixed argv
                        [str(tool), "dump", "--nonblocking", "--pid", str(pid)],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT,
                    ),
                )
            )
        texts = {pid: _collect(process) for pid, process in asked}
        for pid in pids[:MAX_PROCESSES]:
            _line(out, f"\n## {describe(pid)}")
            _line(out, f"kernel: waits in {_wchan(pid)}")
            if pid in texts:
                out.write(texts[pid])
    return "py-spy" if tool else "kernel"


def _collect(process: subprocess.Popen[bytes]) -> bytes:
    try:
        return process.communicate(timeout=TIMEOUT_S)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0] + b"(py-spy took too long)\n"


def _wchan(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/wchan").read_text(encoding="ascii") or "0"
    except OSError:
        return "unknown"


def _line(out: IO[bytes], text: str) -> None:
    out.write(text.encode("utf-8", "replace") + b"\n")
