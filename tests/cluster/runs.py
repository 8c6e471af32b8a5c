"""``deepep-compiler run`` on a lab, as a user starts it; what it says meanwhile, and what it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.lab import REPOSITORY, Lab
from tests.cluster.machine import Host

COMPILER = Path(sys.executable).with_name("deepep-compiler")
STAND_IN = Path(__file__).with_name("stand_in") / "python_with_torchrun.py"
TORCH = REPOSITORY / ".venv-torch" / "bin" / "python"
PATIENCE_S = 300.0
"""Only keeps a broken run from hanging the tests."""

TEST = """name = "standard"
description = "standard"
test_template_name = "DeepEPBenchmark"

[cmd_args]
mode = "standard"
tokens = 32
num_experts = {experts}
num_topk = 2
hidden_size = 256
num_warmups = 1
num_iterations = {iterations}
{image}

[extra_env_vars]
{environment}
"""

Event = Mapping[str, Any]


class Launched:
    """One ``deepep-compiler run`` on some hosts of a lab.

    ``stand_in`` has words for the stand-in (see there); None runs the real benchmark with gloo. ``keys``:
    more lines at the top of the scenario.
    """

    def __init__(
        self,
        lab: Lab,
        folder: Path,
        hosts: Sequence[Host],
        *,
        stand_in: str | None = "",
        iterations: int = 5,
        time_limit_s: int = 120,
        timeouts_s: int = 20,
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        variables: Mapping[str, Any] | None = None,
        per_host: Mapping[str, Mapping[str, Any]] | None = None,
        tests: int = 1,
        keys: str = "",
        name: str = "faults",
        image: str | None = None,
    ) -> None:
        self.lab = lab
        self.hosts = list(hosts)
        self.results = folder / "results"
        self._folder = folder
        environment = {**({"STAND_IN": stand_in} if stand_in else {}), **(env or {})}
        self._write_scenario(name, iterations, time_limit_s, environment, tests, keys, image)
        inventory = lab.inventory(
            folder / "hosts.json",
            hosts=hosts,
            of_host=per_host,
            variables={
                "deepep_container_runtime": "none",
                "deepep_backend": "gloo",
                "deepep_gpus_per_node": 1,
                "deepep_python": str(TORCH if stand_in is None else STAND_IN),
                "deepep_rendezvous_timeout_s": timeouts_s,
                "deepep_process_group_timeout_s": timeouts_s,
                **(variables or {}),
            },
        )
        command = [COMPILER, "run", folder / "scenario.toml", "--inventory", inventory, "--results-dir",
                   self.results, *options]  # fmt: skip
        self.begun = time.monotonic()
        self._output = (folder / "output.txt").open("w+")
        self.process: subprocess.Popen[str] = lab.controller.popen(
            *command, cwd=folder, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output,
            start_new_session=True,
        )  # fmt: skip

    def _write_scenario(
        self,
        name: str,
        iterations: int,
        limit_s: int,
        env: Mapping[str, str],
        tests: int,
        keys: str,
        image: str | None,
    ) -> None:
        (self._folder / "tests").mkdir(parents=True, exist_ok=True)
        lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in env.items())
        text = TEST.format(
            iterations=iterations,
            environment=lines,
            experts=8 * len(self.hosts),
            image=f"docker_image_url = {json.dumps(image)}" if image else "",
        )
        (self._folder / "tests" / "standard.toml").write_text(text)
        entries = [
            f'[[Tests]]\nid = "Tests.{number}"\ntest_name = "standard"\n'
            f'nodes = "GAIA:standard_nodes:{len(self.hosts)}"\n'
            f'time_limit = "00:{limit_s // 60:02d}:{limit_s % 60:02d}"\n'
            for number in range(1, tests + 1)
        ]
        (self._folder / "scenario.toml").write_text(f'name = "{name}"\n{keys}' + "".join(entries))

    # -- while it runs ----------------------------------------------------------------------------------

    @property
    def session(self) -> Path:
        """The session's directory. Raises ValueError before there is one."""
        (found,) = self.results.iterdir()
        return found

    def events(self) -> list[Event]:
        """Returns what happened so far."""
        with contextlib.suppress(OSError, ValueError):
            lines = (self.session / "events.jsonl").read_text().splitlines()
            return [json.loads(line) for line in lines if line.endswith("}")]
        return []

    def wait_for(self, wanted: Callable[[Event], bool], count: int = 1) -> None:
        """Waits until so many events are wanted. Raises AssertionError where the run ends before."""
        end = time.monotonic() + PATIENCE_S
        while sum(map(wanted, self.events())) < count:
            assert self.process.poll() is None, f"the run ended too early:\n{self.output()}"
            assert time.monotonic() < end, f"waited in vain:\n{self.output()}"
            time.sleep(0.05)

    def wait_for_task(self, text: str, count: int = 1) -> None:
        """Waits until a task begins for the ``count``-th time whose name ends with ``text``."""
        self.wait_for(lambda event: event["event"] == "task" and str(event.get("task")).endswith(text), count)

    def wait_for_phase(self, phase: str) -> None:
        """Waits until all hosts are in a phase, by their own files: the controller hears of it later."""
        end = time.monotonic() + PATIENCE_S
        while any(self.phase_of(host) != phase for host in self.hosts):
            assert self.process.poll() is None, f"the run ended too early:\n{self.output()}"
            assert time.monotonic() < end, f"never in phase {phase}:\n{self.output()}"
            time.sleep(0.05)

    def wait_for_sign(self, host: Host, text: str, meanwhile: Callable[[], None] | None = None) -> None:
        """Waits until the logs of the run on a host say something; calls ``meanwhile`` until then."""
        end = time.monotonic() + PATIENCE_S
        while not any(text in log for log in self._logs_on(host)):
            assert self.process.poll() is None, f"the run ended without {text!r}:\n{self.output()}"
            assert time.monotonic() < end, f"never said {text!r}:\n{self.output()}"
            if meanwhile:
                meanwhile()
            time.sleep(0.05)

    def _logs_on(self, host: Host) -> Iterator[str]:
        for path in (
            found for folder in self.left_on(host) for found in folder.glob("*/runs/*/*/logs/*.txt")
        ):
            with contextlib.suppress(OSError):
                yield path.read_text(errors="replace")

    def left_on(self, host: Host) -> list[Path]:
        """Returns what the session has on a host's disk, [] before there is a session."""
        with contextlib.suppress(OSError, ValueError):
            run_id = json.loads((self.session / "run.json").read_text())["run_id"]
            return list(host.root("/var/tmp").glob(f"deepep-*/{run_id}"))  # noqa: S108 - of the host
        return []

    def phase_of(self, host: Host) -> str | None:
        """Returns the phase that the program shows on a host."""
        for path in (
            found for folder in self.left_on(host) for found in folder.glob("*/runs/*/*/progress.json")
        ):
            with contextlib.suppress(OSError, ValueError):
                return str(json.loads(path.read_text())["phase"])
        return None

    def interrupt(self) -> None:
        """Ctrl-C: SIGINT to the whole foreground group, as a terminal sends it."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """Ends the controller's part at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def output(self) -> str:
        """Returns what it printed so far."""
        return (self._folder / "output.txt").read_text(errors="replace")

    # -- after it ---------------------------------------------------------------------------------------

    def finish(self) -> int:
        """Waits for its end and returns the exit code."""
        try:
            return self.process.wait(PATIENCE_S)
        except BaseException:
            self.kill()
            raise

    def verdict(self, run: str = "Tests.1/0") -> dict[str, Any]:
        """Returns verdict, reasons and suspect of a run, {} where there is none."""
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((self.session / run / "verdict.json").read_text())
            return found
        return {}

    def described(self) -> dict[str, Any]:
        """Returns what ``run.json`` says of the session."""
        found: dict[str, Any] = json.loads((self.session / "run.json").read_text())
        return found

    def ansible_log(self) -> str:
        """Returns Ansible's own output."""
        path = self.session / "ansible.log"
        return path.read_text(errors="replace") if path.exists() else ""
