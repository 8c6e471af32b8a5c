#!/usr/bin/python
"""Packs a run's files on this host, or returns one part of what was packed."""

from __future__ import annotations

import base64
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deepep_host.control import observe
from ansible.module_utils.deepep_host.files import run_path, safe_relative
from ansible.module_utils.deepep_host.pack import pack
from ansible.module_utils.deepep_host.state import host_dir, resolve_work_dir, run_dir

DOCUMENTATION = """
module: deepep_pack
short_description: Pack a run's files on this host, or return one part of what was packed
description: Called by the action plugin deepep_collect. Regular files of the run's directory only.
options:
  run_id: {description: Id of the session., type: str, required: true}
  host: {description: Inventory name of this host., type: str, required: true}
  run: {description: Id of the run., type: str, required: true}
  work_dir: {description: Work directory; empty for the default., type: str, default: ""}
  part: {description: Name of a part to return; empty to pack., type: str, default: ""}
  inline_bytes: {description: Return what was packed at once if it is no larger., type: int, default: 1048576}
author: deepep-compiler authors
"""


def read(folder: Path, name: str) -> str:
    """Returns a part in base64."""
    return base64.b64encode((folder / safe_relative(name)).read_bytes()).decode()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "run_id": {"type": "str", "required": True},
            "host": {"type": "str", "required": True},
            "run": {"type": "str", "required": True},
            "work_dir": {"type": "str", "default": ""},
            "part": {"type": "str", "default": ""},
            "inline_bytes": {"type": "int", "default": 1024 * 1024},
        },
        no_log=True,
    )
    given = module.params
    try:
        base = host_dir(resolve_work_dir(given["work_dir"]), given["run_id"], given["host"])
        folder = run_dir(base, given["run"])
        parts_dir = run_path(base / "parts", given["run"])
        if given["part"]:
            module.exit_json(changed=False, content=read(parts_dir, given["part"]))
        state = observe(folder)
        if state is None:
            module.exit_json(changed=False, state=None, parts=[])
        parts = pack(folder, parts_dir)
        inline = len(parts) == 1 and parts[0]["bytes"] <= given["inline_bytes"]
        if inline:
            parts[0]["content"] = read(parts_dir, parts[0]["name"])
        module.exit_json(changed=True, state=state, parts=parts, folder=str(parts_dir))
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
