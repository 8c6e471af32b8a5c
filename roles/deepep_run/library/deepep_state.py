#!/usr/bin/python
"""Returns how a run stands on this host, as soon as it has ended."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deepep_host.verbs import perform

DOCUMENTATION = """
module: deepep_state
short_description: Return how a run stands on this host, as soon as it has ended
description: Called by the action plugin deepep_await. A run without supervisor is ended and counts as lost.
options:
  run_id: {description: Id of the session., type: str, required: true}
  host: {description: Inventory name of this host., type: str, required: true}
  run: {description: Id of the run., type: str, required: true}
  work_dir: {description: Work directory; empty for the default., type: str, default: ""}
  wait_s: {description: How many seconds to wait for the end at most., type: float, default: 0}
author: deepep-compiler authors
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "run_id": {"type": "str", "required": True},
            "host": {"type": "str", "required": True},
            "run": {"type": "str", "required": True},
            "work_dir": {"type": "str", "default": ""},
            "wait_s": {"type": "float", "default": 0.0},
        },
        no_log=True,
    )
    answer = perform("state", module.params)
    module.fail_json(**answer) if answer.get("failed") else module.exit_json(**answer)


if __name__ == "__main__":
    main()
