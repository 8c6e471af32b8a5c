#!/usr/bin/python
"""Examines a host before anything is put on it."""

from __future__ import annotations

import json

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deepep_host.preflight import examine
from ansible.module_utils.deepep_host.preflight.probe import Probe
from ansible.module_utils.deepep_host.preflight.reach import listen
from ansible.module_utils.deepep_host.state import resolve_work_dir

DOCUMENTATION = """
module: deepep_preflight
short_description: Examine a host before anything is put on it
description: Called by the action plugin of the same name. A check that fails is a result, no failure.
options:
  wanted: {description: What the plan wants of this host (JSON)., type: str, required: true}
  work_dir: {description: Work directory; empty for the default., type: str, default: ""}
  create: {description: Create a missing work directory., type: bool, default: false}
  listen: {description: The listener to leave for other hosts (JSON); empty for none., type: str, default: ""}
author: deepep-compiler authors
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "wanted": {"type": "str", "required": True},
            "work_dir": {"type": "str", "default": ""},
            "create": {"type": "bool", "default": False},
            "listen": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    wanted = {**json.loads(given["wanted"]), "work_dir": str(resolve_work_dir(given["work_dir"]))}
    found = examine(wanted, Probe(), create=given["create"] and not module.check_mode)
    if given["listen"] and not module.check_mode:
        found["listener"] = listen(**json.loads(given["listen"]))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
