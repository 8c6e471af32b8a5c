"""Two ways to start torchrun and the program: afresh, and forked from an interpreter that has torch."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

_HERE = Path(__file__).resolve().parent
# far above what any start needs; only keeps a broken one from hanging the tests
_ANSWER_S = 300


class Process(Protocol):
    """As subprocess.Popen."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...
    def send_signal(self, sig: int) -> None: ...


class Starter(Protocol):
    """Starts a process whose output goes to a file. kind: torchrun or program."""

    def start(
        self, kind: str, arguments: Sequence[str], environment: Mapping[str, str], output: Path
    ) -> Process: ...


class Afresh:
    """An interpreter of its own for everything, as on hosts."""

    def __init__(self, python: Path) -> None:
        self._python = python

    def start(
        self, kind: str, arguments: Sequence[str], environment: Mapping[str, str], output: Path
    ) -> Process:
        module = {"torchrun": ["-m", "torch.distributed.run"], "program": []}[kind]
        with output.open("w") as file:
            return subprocess.Popen(
                [str(self._python), *module, *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=dict(environment),
            )


class Forked:
    """preloaded.py in an interpreter that has torch."""

    def __init__(self, python: Path) -> None:
        self._server = subprocess.Popen(
            [str(python), str(_HERE / "preloaded.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self._numbers = itertools.count()
        self._answers: dict[int, queue.Queue[int]] = {}
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def start(
        self, kind: str, arguments: Sequence[str], environment: Mapping[str, str], output: Path
    ) -> Process:
        number = next(self._numbers)
        answers = self._answers[number] = queue.Queue()
        request = {
            "id": number,
            "kind": kind,
            "arguments": list(arguments),
            "environment": dict(environment),
            "output": str(output),
        }
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return _ForkedProcess(answers.get(timeout=_ANSWER_S), answers)

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(timeout=_ANSWER_S)

    def _listen(self) -> None:
        for line in self._server.stdout or ():
            answer: dict[str, Any] = json.loads(line)
            if "id" in answer:
                value = answer["pid"] if "pid" in answer else answer["status"]
                self._answers[answer["id"]].put(value)


class _ForkedProcess:
    def __init__(self, pid: int, answers: queue.Queue[int]) -> None:
        self.pid = pid
        self._answers = answers
        self._code: int | None = None

    def poll(self) -> int | None:
        try:
            return self.wait(timeout=0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self._code is None:
            try:
                self._code = self._answers.get(block=timeout != 0, timeout=timeout or None)
            except queue.Empty:
                raise subprocess.TimeoutExpired([f"forked {self.pid}"], timeout or 0) from None
        return self._code

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            # It may end, and be waited for, in between.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)
