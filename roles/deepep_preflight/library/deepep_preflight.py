#!/usr/bin/python
"""Examines a host before anything is put on it."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deepep_host.preflight import examine
from ansible.module_utils.deepep_host.state import resolve_work_dir

DOCUMENTATION = """
module: deepep_preflight
short_description: Examine a host before anything is put on it
description: Called by the action plugin of the same name. A check that fails is a result, no failure.
options:
  work_dir: {description: Work directory; empty for the default., type: str, default: ""}
  python: {description: Interpreter that must have torch; empty for none., type: str, default: ""}
  master_interface: {description: Network interface that must have an address., type: str, default: ""}
  min_free_mib: {description: Free space wanted in the work directory., type: int, default: 512}
  max_clock_skew_s: {description: Largest clock difference., type: float, default: 30}
  create: {description: Create a missing work directory., type: bool, default: false}
  controller_time: {description: The controller's time since the epoch., type: float, required: true}
author: deepep-compiler authors
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "work_dir": {"type": "str", "default": ""},
            "python": {"type": "str", "default": ""},
            "master_interface": {"type": "str", "default": ""},
            "min_free_mib": {"type": "int", "default": 512},
            "max_clock_skew_s": {"type": "float", "default": 30.0},
            "create": {"type": "bool", "default": False},
            "controller_time": {"type": "float", "required": True},
        },
        supports_check_mode=True,
    )
    wanted = {**module.params, "work_dir": resolve_work_dir(module.params["work_dir"])}
    read_only = module.check_mode or not module.params["create"]
    found = examine(wanted, module.params["controller_time"], read_only)
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
