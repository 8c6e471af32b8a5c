"""Drives runs on the host that it is started on, past Ansible: JSON lines in, JSON lines out.

For tests of containers under a supervisor on a host of a lab.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from compiler.resources import host_code

host_code()

from deepep_host import cleanup, control  # noqa: E402
from deepep_host.files import write_json  # noqa: E402

from tests.host.conftest import OneHost  # noqa: E402

IMAGE = "registry.example.com/team/image:1"
"""The image's name in the plan; what it is on the host, images.json says, as after staging."""


def answer(asked: dict[str, Any]) -> dict[str, Any] | None:
    """Does what is asked: start, wait, stop, observe or clean."""
    host = OneHost(Path(asked["folder"]), name="node1", run_id=asked.get("run_id", "20260101_000000-abcdef"))
    name = asked.get("run", "run")
    folder = host.folder(name)
    verb = asked["verb"]
    if verb == "start":
        host.stage(**{name: {"image": IMAGE, **asked["changes"]}})
        write_json(host.base / "images.json", {IMAGE: asked["image"]})
        try:
            return control.start(
                host.base, host.work_dir, f"{name}/0", "127.0.0.1", 20000, asked.get("python", "")
            )
        except Exception as error:
            return {"refused": f"{type(error).__name__}: {error}"}
    if verb == "wait":
        end = time.monotonic() + asked["seconds"]
        while host.state(name).get("status") != "ended" and time.monotonic() < end:
            time.sleep(0.05)
        return host.state(name)
    if verb == "stop":
        return control.stop(folder, "enough")
    if verb == "observe":
        return control.observe(folder)
    return cleanup.clean(host.work_dir, host.name, asked.get("session", ""), (), asked.get("dry", False))


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
