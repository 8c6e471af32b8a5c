"""Drives runs on the host that it is started on, past Ansible: JSON lines in, JSON lines out.

For tests of containers under a supervisor on a host of a lab. Needs nothing but the standard library and this
repository, so that any user of a host can run it.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "roles" / "deepep_common" / "module_utils"))

from deepep_host import cleanup, control  # noqa: E402
from deepep_host.files import write_json  # noqa: E402
from deepep_host.preflight.image import look  # noqa: E402
from deepep_host.program import pack_program  # noqa: E402
from deepep_host.stage import stage  # noqa: E402
from deepep_host.state import host_dir, read_state, run_dir  # noqa: E402

IMAGE = "registry.example.com/team/image:1"
"""The image's name in the plan; what it is on the host, images.json says, as after staging."""

HOST = "node1"
STAND_IN = REPOSITORY / "tests" / "host" / "fixtures" / "stand_in.py"


def answer(asked: dict[str, Any]) -> dict[str, Any] | None:
    """Does what is asked: start, stage, look, wait, stop, observe or clean."""
    work_dir = Path(asked["folder"]) / "work"
    base = host_dir(work_dir, asked.get("run_id", "20260101_000000-abcdef"), HOST)
    run = asked.get("run", "run") + "/0"
    folder = run_dir(base, run)
    verb = asked["verb"]
    if verb in ("start", "stage"):
        return _start(asked, work_dir, base, run)
    if verb == "wait":
        end = time.monotonic() + asked["seconds"]
        while (read_state(folder) or {}).get("status") != "ended" and time.monotonic() < end:
            time.sleep(0.05)
        return read_state(folder)
    if verb == "stop":
        return control.stop(folder, "enough")
    if verb == "look":
        return look(base, work_dir, run, asked.get("python", ""), "", asked["asked"], asked["seconds"])
    if verb == "observe":
        return control.observe(folder)
    return cleanup.clean(work_dir, HOST, asked.get("session", ""), (), asked.get("dry", False))


def _start(asked: dict[str, Any], work_dir: Path, base: Path, run: str) -> dict[str, Any]:
    changes = dict(asked["changes"])
    spec = {
        "id": run, "ranks_per_host": 1, "nodes": [HOST], "node_rank": 0, "program": "bundled", "image": IMAGE,
        "config": {"tokens": 8}, "env": {}, "time_limit_s": 60,
        "argv": [{"join": [{"var": "python"}]}, str(STAND_IN), *changes.pop("words")], **changes,
    }  # fmt: skip
    archive, sha256, _ = pack_program(REPOSITORY / "roles")
    plan = {"schema": 1, "host": HOST, "run_id": base.parent.name, "stamp": "20260101_000000",
            "runs": {run: spec}}  # fmt: skip
    data = base64.b64encode(archive).decode()
    stage(str(work_dir), base.parent.name, HOST, "", data, sha256, plan, {})
    write_json(base / "images.json", {IMAGE: asked["image"]})
    if asked["verb"] == "stage":
        return {}
    try:
        return control.start(base, work_dir, run, "127.0.0.1", 20000, asked.get("python", ""))
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
