#!/usr/bin/python
"""Returns how a run stands on this host, and what its logs hold beyond what the caller has."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deepep_host.verbs import perform

DOCUMENTATION = """
module: deepep_look
short_description: Return a run's state and the new part of its logs
description: Called by the action plugin deepep_look. Changes nothing.
options:
  run_id: {description: Id of the session., type: str, required: true}
  host: {description: Inventory name of this host., type: str, required: true}
  work_dir: {description: Work directory; empty for the default., type: str, default: ""}
  runs: {description: "Run id -> stream -> bytes that the caller has.", type: dict, required: true}
author: deepep-compiler authors
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "run_id": {"type": "str", "required": True},
            "host": {"type": "str", "required": True},
            "work_dir": {"type": "str", "default": ""},
            "runs": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
        no_log=True,
    )
    answer = perform("look", module.params)
    module.fail_json(**answer) if answer.get("failed") else module.exit_json(**answer)


if __name__ == "__main__":
    main()
