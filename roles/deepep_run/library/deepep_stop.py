#!/usr/bin/python
"""Stops one run, or every run of a session, on this host."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deepep_host.verbs import perform

DOCUMENTATION = """
module: deepep_stop
short_description: Stop one run, or every run of a session, on this host
description: Called by the action plugins deepep_stop and deepep_await. Nothing is ended by its name.
options:
  run_id: {description: Id of the session., type: str, required: true}
  host: {description: Inventory name of this host., type: str, required: true}
  run: {description: Id of the run; empty for all runs of the session., type: str, default: ""}
  work_dir: {description: Work directory; empty for the default., type: str, default: ""}
  cause: {description: Why; goes into the run's state., type: str, required: true}
author: deepep-compiler authors
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "run_id": {"type": "str", "required": True},
            "host": {"type": "str", "required": True},
            "run": {"type": "str", "default": ""},
            "work_dir": {"type": "str", "default": ""},
            "cause": {"type": "str", "required": True},
        },
        no_log=True,
    )
    answer = perform("stop", module.params)
    module.fail_json(**answer) if answer.get("failed") else module.exit_json(**answer)


if __name__ == "__main__":
    main()
