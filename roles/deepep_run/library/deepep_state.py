#!/usr/bin/python
"""Returns how a run stands on this host, as soon as it changes."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deepep_host.control import wait_for_change
from ansible.module_utils.deepep_host.state import host_dir, resolve_work_dir, run_dir

DOCUMENTATION = """
module: deepep_state
short_description: Return how a run stands on this host, as soon as it changes
description: Called by the action plugin deepep_await. A run without supervisor is ended and counts as lost.
options:
  run_id: {description: Id of the session., type: str, required: true}
  host: {description: Inventory name of this host., type: str, required: true}
  run: {description: Id of the run., type: str, required: true}
  work_dir: {description: Work directory; empty for the default., type: str, default: ""}
  seen: {description: Fingerprint of the state that the caller knows., type: str, default: ""}
  wait_s: {description: How many seconds to wait for another state at most., type: float, default: 0}
author: deepep-compiler authors
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "run_id": {"type": "str", "required": True},
            "host": {"type": "str", "required": True},
            "run": {"type": "str", "required": True},
            "work_dir": {"type": "str", "default": ""},
            "seen": {"type": "str", "default": ""},
            "wait_s": {"type": "float", "default": 0.0},
        },
        no_log=True,
    )
    given = module.params
    try:
        folder = run_dir(
            host_dir(resolve_work_dir(given["work_dir"]), given["run_id"], given["host"]), given["run"]
        )
        state = wait_for_change(folder, given["seen"], min(given["wait_s"], 15.0))
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, state=state)


if __name__ == "__main__":
    main()
