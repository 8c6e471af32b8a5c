#!/usr/bin/python
"""Puts the program and the plan slice of one session on a host."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deepep_host.cleanup import DAY_S, KEEP_DAYS, expire
from ansible.module_utils.deepep_host.lease import DIRECTORY, take
from ansible.module_utils.deepep_host.lock import HostInUse
from ansible.module_utils.deepep_host.preflight.reach import connect
from ansible.module_utils.deepep_host.stage import stage
from ansible.module_utils.deepep_host.state import (
    WorkDirError,
    ensure_work_dir,
    host_dir,
    resolve_work_dir,
)

DOCUMENTATION = """
module: deepep_stage
short_description: Put the program and the plan slice of one session on a host
description: Called by the action plugin of the same name. Writes below the work directory only.
options:
  run_id: {description: Id of the session., type: str, required: true}
  host: {description: Inventory name of this host., type: str, required: true}
  work_dir: {description: Work directory; empty for the default., type: str, default: ""}
  python: {description: Interpreter that has torch., type: str, default: ""}
  archive: {description: The program as tar.gz in base64., type: str, required: true}
  sha256: {description: SHA-256 of the archive's content before compression., type: str, required: true}
  slice: {description: This host's part of the plan as JSON., type: str, required: true}
  torch: {description: What torch said in preflight as JSON., type: str, default: "{}"}
  reach: {description: Listeners on other hosts to connect to as JSON., type: str, default: "[]"}
  keep_days: {description: How long what other sessions left uncollected stays; 14 by default., type: float}
  lease_dir: {description: Where sessions note that they hold the host; empty for the default., type: str}
  mine: {description: All run ids of the session., type: list, elements: str, default: []}
  started_by: {description: Who started the session; for those whom it keeps out., type: str, default: ""}
  results: {description: Where its results go; for those whom it keeps out., type: str, default: ""}
author: deepep-compiler authors
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "run_id": {"type": "str", "required": True},
            "host": {"type": "str", "required": True},
            "work_dir": {"type": "str", "default": ""},
            "python": {"type": "str", "default": ""},
            "archive": {"type": "str", "required": True},
            "sha256": {"type": "str", "required": True},
            "slice": {"type": "str", "required": True},
            "torch": {"type": "str", "default": "{}"},
            "reach": {"type": "str", "default": "[]"},
            "keep_days": {"type": "float", "default": KEEP_DAYS},
            "lease_dir": {"type": "str", "default": ""},
            "mine": {"type": "list", "elements": "str", "default": []},
            "started_by": {"type": "str", "default": ""},
            "results": {"type": "str", "default": ""},
        },
        no_log=True,
    )
    given = module.params
    try:
        # First: it may be what fills the disk.
        work_dir = resolve_work_dir(given["work_dir"])
        ensure_work_dir(work_dir)
        expired = expire(work_dir, given["host"], given["keep_days"] * DAY_S, given["run_id"])
        base = host_dir(work_dir, given["run_id"], given["host"])
        who = {name: given[name] for name in ("started_by", "results")}
        take(Path(given["lease_dir"] or DIRECTORY), base, given["run_id"], given["host"], given["mine"], who)
        changed = stage(
            given["work_dir"],
            given["run_id"],
            given["host"],
            given["python"],
            given["archive"],
            given["sha256"],
            json.loads(given["slice"]),
            json.loads(given["torch"]),
        )
    except (WorkDirError, HostInUse, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=changed or bool(expired),
        expired=expired,
        interpreter=sys.executable,
        program=str(base / "program"),
        work_dir=str(work_dir),
        reached=connect(json.loads(given["reach"])),
    )


if __name__ == "__main__":
    main()
