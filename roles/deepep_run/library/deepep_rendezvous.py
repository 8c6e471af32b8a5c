#!/usr/bin/python
"""Finds an address and a free port on the first host of a run."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deepep_host.verbs import perform

DOCUMENTATION = """
module: deepep_rendezvous
short_description: Find an address and a free port on the first host of a run
description: Called by the action plugin of the same name. Changes nothing.
options:
  interface: {description: Network interface to use; empty for none named., type: str, default: ""}
  address: {description: Address of this host to use; empty for none named., type: str, default: ""}
  one_machine: {description: Whether all hosts of the run are one machine., type: bool, default: false}
  avoid: {description: Ports of earlier attempts., type: list, elements: int, default: []}
author: deepep-compiler authors
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "interface": {"type": "str", "default": ""},
            "address": {"type": "str", "default": ""},
            "one_machine": {"type": "bool", "default": False},
            "avoid": {"type": "list", "elements": "int", "default": []},
        },
        supports_check_mode=True,
    )
    answer = perform("rendezvous", module.params)
    module.fail_json(**answer) if answer.get("failed") else module.exit_json(**answer)


if __name__ == "__main__":
    main()
