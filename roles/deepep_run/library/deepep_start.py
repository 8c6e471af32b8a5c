#!/usr/bin/python
"""Starts the supervisor of one run on this host and returns at once."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deepep_host.verbs import perform

DOCUMENTATION = """
module: deepep_start
short_description: Start the supervisor of one run on this host
description: Called by the action plugin of the same name. A run that was started before stays as it is.
options:
  run_id: {description: Id of the session., type: str, required: true}
  host: {description: Inventory name of this host., type: str, required: true}
  run: {description: Id of the run., type: str, required: true}
  work_dir: {description: Work directory; empty for the default., type: str, default: ""}
  python: {description: Interpreter that has torch; in a container its own., type: str, default: ""}
  jit_cache_dir: {description: Where containers keep compiled kernels., type: str, default: ""}
  master_addr: {description: Address at which the ranks meet., type: str, required: true}
  master_port: {description: Port at which the ranks meet., type: int, required: true}
author: deepep-compiler authors
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "run_id": {"type": "str", "required": True},
            "host": {"type": "str", "required": True},
            "run": {"type": "str", "required": True},
            "work_dir": {"type": "str", "default": ""},
            "python": {"type": "str", "default": ""},
            "jit_cache_dir": {"type": "str", "default": ""},
            "master_addr": {"type": "str", "required": True},
            "master_port": {"type": "int", "required": True},
        },
        no_log=True,
    )
    answer = perform("start", module.params)
    module.fail_json(**answer) if answer.get("failed") else module.exit_json(**answer)


if __name__ == "__main__":
    main()
