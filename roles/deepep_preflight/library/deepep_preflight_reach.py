#!/usr/bin/python
"""Connects to listeners on other hosts."""

from __future__ import annotations

import json

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deepep_host.preflight.reach import connect

DOCUMENTATION = """
module: deepep_preflight_reach
short_description: Connect to listeners on other hosts
description: Called by the action plugin of the same name. Changes nothing.
options:
  listeners: {description: Host, address, ports and word of each (JSON)., type: str, required: true}
author: deepep-compiler authors
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={"listeners": {"type": "str", "required": True}}, supports_check_mode=True
    )
    module.exit_json(changed=False, reached=connect(json.loads(module.params["listeners"])))


if __name__ == "__main__":
    main()
