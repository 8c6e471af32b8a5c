"""One simulated host for the tests of the supervisor: a work directory and real processes, no Ansible."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from compiler.resources import host_code, resource

host_code()

from deepep_host import control, processes  # noqa: E402 - found by the line above
from deepep_host.program import pack_program  # noqa: E402
from deepep_host.stage import stage  # noqa: E402
from deepep_host.state import host_dir, read_state, run_dir  # noqa: E402

from tests.host.bundles import STAND_IN, Bundle  # noqa: E402


class OneHost:
    """A host of the inventory with one session staged on it."""

    def __init__(self, folder: Path, name: str = "node1", run_id: str | None = None) -> None:
        self.name = name
        # Processes are told apart by it, and tests run at the same time.
        self.run_id = run_id or f"20260101_000000-{secrets.token_hex(3)}"
        self.work_dir = folder / "work"
        self.base = host_dir(self.work_dir, self.run_id, name)

    def stage(self, **runs: dict[str, Any]) -> None:
        """Stages the program and these runs (name -> words of the stand-in, or changes to the run)."""
        archive, sha256, _ = pack_program(resource("roles"))
        slices = {f"{name}/0": self._run(f"{name}/0", **changes) for name, changes in runs.items()}
        whole = {
            "schema": 1,
            "host": self.name,
            "run_id": self.run_id,
            "stamp": "20260101_000000",
            "runs": slices,
        }
        stage(
            str(self.work_dir),
            self.run_id,
            self.name,
            "",
            base64.b64encode(archive).decode(),
            sha256,
            whole,
            {},
        )

    def _run(self, key: str, words: Sequence[str] = (), **changes: Any) -> dict[str, Any]:
        return {
            "id": key, "ranks_per_host": 1, "nodes": [self.name], "node_rank": 0, "container_runtime": "none",
            "program": "bundled", "image": None, "container": None, "mounts": [], "config": {"tokens": 8},
            "env": {}, "time_limit_s": 60,
            "argv": [{"join": [{"var": "python"}]}, str(STAND_IN), *words], **changes,
        }  # fmt: skip

    def start(self, name: str) -> dict[str, Any]:
        """Starts a run as the module does."""
        return control.start(self.base, self.work_dir, f"{name}/0", "127.0.0.1", 20000, sys.executable)

    def folder(self, name: str) -> Path:
        """Returns the directory of a run."""
        return run_dir(self.base, f"{name}/0")

    def state(self, name: str) -> dict[str, Any]:
        """Returns the state file of a run as it is."""
        return read_state(self.folder(name)) or {}

    def wait(self, name: str, status: str = "ended") -> dict[str, Any]:
        """Waits for a run's status by its state file alone."""
        wait_until(lambda: self.state(name).get("status") == status)
        return self.state(name)

    def marked(self) -> list[int]:
        """Returns what of this session is alive on this host."""
        return processes.with_environment({"DEEPEP_RUN_ID": self.run_id, "DEEPEP_HOST": self.name})


def wait_until(condition: Any, seconds: float = 300) -> None:
    """Waits until ``condition`` holds; fails the test if it never does. The machine may be busy."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail("waited in vain")
        time.sleep(0.05)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OneHost]:
    """A host with a short grace; whatever a test leaves running there is ended after it."""
    monkeypatch.setattr(control, "GRACE_S", 0.5)
    one = OneHost(tmp_path)
    yield one
    control.stop_runs(one.base, "", "the test is over")
    for pid in one.marked():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)


def events(bundle: Bundle) -> list[dict[str, Any]]:
    """Returns the events of the bundle's only session."""
    return [json.loads(line) for line in (bundle.session() / "events.jsonl").read_text().splitlines()]
