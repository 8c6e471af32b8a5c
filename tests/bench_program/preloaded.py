"""One interpreter that has torch loaded; every process that a test asks for is forked from it.

Importing torch takes seconds and a run needs it once per agent and rank. What is forked does the same as what
is started afresh: torchrun's own agent (its rendezvous, its environment for ranks, its way to end them), the
program's own ``__main__``, ``unittest``. A few tests start everything afresh all the same.

Reads requests from standard input, one JSON object per line, and answers on standard output.
"""

from __future__ import annotations

import json
import os
import runpy
import select
import signal
import sys
import unittest
from typing import Any

import torch
import torch.distributed.launcher.api as launcher
import torch.distributed.run as torchrun
import torch.profiler


def main() -> None:
    torch.set_num_threads(1)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    requests, running, rest = sys.stdin.fileno(), {}, b""
    answer(ready=os.getpid())
    while True:
        ready, _, _ = select.select([requests, wake], [], [])
        if wake in ready:
            os.read(wake, 512)
        for pid, status in ended(running):
            answer(id=running.pop(pid), status=os.waitstatus_to_exitcode(status))
        if requests not in ready:
            continue
        read = os.read(requests, 65536)
        if not read:
            break
        *lines, rest = (rest + read).split(b"\n")
        for line in lines:
            request = json.loads(line)
            pid = os.fork()
            if pid == 0:
                become(request)
            running[pid] = request["id"]
            answer(id=request["id"], pid=pid)
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def answer(**values: Any) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def ended(running: dict[int, int]) -> list[tuple[int, int]]:
    """(pid, status) of every forked process that is over."""
    return [found for found in (os.waitpid(pid, os.WNOHANG) for pid in running) if found[0]]


def become(request: dict[str, Any]) -> None:
    """The forked process: never returns."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, descriptor in enumerate((nothing, output, output)):
            os.dup2(descriptor, number)
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.path[:0] = [part for part in os.environ.get("PYTHONPATH", "").split(":") if part]
        {"torchrun": run_agent, "program": run_program, "unittest": run_units}[request["kind"]](
            request["arguments"]
        )
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_agent(arguments: list[str]) -> None:
    """What ``python -m torch.distributed.run`` does, but that ranks are forked too."""
    parsed = torchrun.get_args_parser().parse_args(arguments)
    config, _, command = torchrun.config_from_args(parsed)
    config.start_method = "fork"
    program = [parsed.training_script, *parsed.training_script_args]
    assert command[-len(program) :] == program
    launcher.elastic_launch(config=config, entrypoint=run_program)(program)


def run_program(arguments: list[str]) -> None:
    """``python PROGRAM ARGUMENTS``"""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # an agent's handler came along with the fork
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv[:] = arguments
    runpy.run_path(arguments[0], run_name="__main__")


def run_units(arguments: list[str]) -> None:
    """``python -m unittest ARGUMENTS`` in the folder of the first argument."""
    folder, *names = arguments
    os.chdir(folder)
    sys.path.insert(0, folder)
    unittest.main(module=None, argv=["unittest", *names])


if __name__ == "__main__":
    main()
