"""The rounds of looks where hosts outnumber forks: the role's own tasks, with a plugin that counts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from compiler.resources import resource

ROUNDS = {"a": 3, "b": 101}
"""How many rounds the run on each host takes: two times 50, and one more."""

PLUGIN = f"""
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        found = super().run(tmp, task_vars)
        count, depth, above = int(self._task.args["round"]) + 1, 0, self._task
        while above is not None:
            depth, above = depth + 1, above._parent
        host = task_vars["inventory_hostname"]
        with open("looks", "a") as file:
            file.write(f"{{host}} {{count}} {{depth}}\\n")
        return {{**found, "round": count, "pending": count < {ROUNDS!r}[host]}}
"""

PLAY = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.import_role": {"name": "deepep_run", "tasks_from": "await"}}],
    }
]


def test_any_number_of_rounds_stays_within_what_ansible_can_nest(tmp_path: Path) -> None:
    role = tmp_path / "roles" / "deepep_run"
    for part in ("tasks", "defaults"):
        shutil.copytree(resource("roles") / "deepep_run" / part, role / part)
    (role / "action_plugins").mkdir()
    (role / "action_plugins" / "deepep_await.py").write_text(PLUGIN)
    (tmp_path / "play.yml").write_text(json.dumps(PLAY))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "a,b,", "-f", "1", "play.yml"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    looks = [line.split() for line in (tmp_path / "looks").read_text().splitlines()]
    # No host gets ahead of another.
    assert [(host, int(count)) for host, count, _ in looks] == [
        (host, count) for count in range(1, ROUNDS["b"] + 1) for host in ROUNDS if count <= ROUNDS[host]
    ]
    depths = {int(count): int(depth) for host, count, depth in looks if host == "b"}
    # Ansible gives up where a task has some 500 others and blocks above it: one round has two.
    assert depths[101] - depths[51] <= 2
    assert max(depths.values()) < 150
