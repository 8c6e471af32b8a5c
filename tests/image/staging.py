"""Plays of the role deepep_image alone: a session is opened, the program is put in place, images are
staged.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from compiler.resources import resource
from tests.cluster.lab import Lab
from tests.host.bundles import stand_in_run

PLAY = """
- name: Open the session
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Open
      ansible.builtin.import_role:
        name: deepep_run
        tasks_from: open

- name: Prepare the hosts
  hosts: all
  gather_facts: false
  ignore_unreachable: true
  tasks:
    - name: Stage the program and the plan
      ansible.builtin.import_role:
        name: deepep_run
        tasks_from: stage

    - name: Stage the images
      ansible.builtin.import_role:
        name: deepep_image

- name: Clean up
  hosts: all
  gather_facts: false
  ignore_unreachable: true
  tasks:
    - name: Clean up
      ansible.builtin.import_role:
        name: deepep_cleanup
      when: cleanup | default(true)

- name: Search the tree
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Close
      ansible.builtin.import_role:
        name: deepep_run
        tasks_from: close
"""

CONFIG = """
[defaults]
inventory = hosts.yml
roles_path = {roles}
callback_plugins = {roles}/deepep_common/callback_plugins
callbacks_enabled = deepep_events
forks = {forks}
gathering = explicit
host_key_checking = True
interpreter_python = auto_silent
retry_files_enabled = False
[connection]
pipelining = True
[ssh_connection]
ssh_args = -o ControlMaster=auto -o ControlPersist=60s -o ServerAliveInterval=5 -o ServerAliveCountMax=3
"""


class Staging:
    """A bundle-like folder in which the role is played, on ``lab`` if given. ``hosts``: name -> variables."""

    def __init__(
        self,
        folder: Path,
        hosts: Mapping[str, Mapping[str, Any]],
        image: str,
        runtime: str,
        *,
        forks: int | None = None,
        lab: Lab | None = None,
        one_machine: str | None = None,
        **variables: Any,
    ) -> None:
        self.folder = folder
        self.lab = lab
        self.image = image
        names = self.play_hosts = list(hosts)
        run = stand_in_run(
            "Tests.1", [], image=image, container_runtime=runtime, world_size=len(names),
            hosts=[{"name": name, "node_rank": rank} for rank, name in enumerate(names)],
        )  # fmt: skip
        plan = {
            "schema": 1,
            "compiler_version": "0",
            "scenario": {"name": "staging", "description": None},
            "launcher": "ssh",
            "hosts": {
                name: {"connection": "ssh", "groups": [], "one_machine": one_machine} for name in names
            },
            "warnings": [],
            "steps": [],
            "runs": [run],
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plan.json").write_text(json.dumps(plan))
        (folder / "site.yml").write_text("---" + PLAY)
        (folder / "ansible.cfg").write_text(
            CONFIG.format(roles=resource("roles"), forks=forks or max(5, len(names)))
        )
        # What is tested is that stagings at the same time do not disturb each other.
        variables = {"deepep_run_lease_dir": f"/var/tmp/deepep-leases-{secrets.token_hex(4)}", **variables}  # noqa: S108
        (folder / "hosts.yml").write_text(
            yaml.safe_dump(
                {"all": {"hosts": {name: dict(values) for name, values in hosts.items()}, "vars": variables}}
            )
        )
        self.log = ""

    def start(self, *options: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Starts playing it."""
        argv = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            str(self.folder / "site.yml"),
            *options,
        ]
        # A folder that everybody may write to would have its configuration ignored.
        extra = {"ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"), **(env or {})}
        how: dict[str, Any] = {
            "cwd": self.folder, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT, "text": True, "errors": "replace",
        }  # fmt: skip
        if self.lab is not None:
            return self.lab.controller.popen(*argv, env=extra, **how)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        return subprocess.Popen(argv, env={**clean, **extra}, **how)

    def finish(self, process: subprocess.Popen[str], timeout: float = 600) -> int:
        """Waits for the end; returns ansible-playbook's exit code. Its output is in ``log``."""
        try:
            self.log, _ = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        return process.returncode

    def play(self, *options: str, env: Mapping[str, str] | None = None, timeout: float = 600) -> int:
        """Plays it to its end."""
        return self.finish(self.start(*options, env=env), timeout)

    @property
    def session(self) -> Path:
        """The newest result directory."""
        return max((self.folder / "results").iterdir(), key=lambda path: path.name)

    def events(self, phase: str | None = None) -> list[dict[str, Any]]:
        """Returns what was told about images, in order."""
        lines = (self.session / "events.jsonl").read_text().splitlines()
        found = [event for event in map(json.loads, lines) if event["event"] == "image"]
        return [event for event in found if phase in (None, event["phase"])]

    def notes(self) -> dict[str, dict[str, Any]]:
        """Returns what every host has that has it."""
        folder = self.session / ".state" / "runs" / "Tests.1" / "0"
        found = {path.stem[6:]: json.loads(path.read_text()) for path in folder.glob("image-*")}
        return dict(sorted(found.items()))

    def skipped(self) -> str:
        """Returns why the run is not started, empty where it would be."""
        path = self.session / "Tests.1" / "0" / "skipped.json"
        return str(json.loads(path.read_text())["reason"]) if path.exists() else ""

    def from_registry(self) -> int:
        """Returns the bytes that came from the registry, over all hosts."""
        most: dict[tuple[str, str], int] = {}
        for event in self.events():
            kind = "asked" if event["phase"] == "decided" else "pulled"
            key = (event["host"], kind)
            most[key] = max(most.get(key, 0), event.get("from_registry") or 0)
        return sum(most.values())
