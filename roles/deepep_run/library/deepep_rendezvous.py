#!/usr/bin/python
"""Finds an address and a free port on the first host of a run."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deepep_host.rendezvous import RendezvousError, free_port, master_address

DOCUMENTATION = """
module: deepep_rendezvous
short_description: Find an address and a free port on the first host of a run
description: Called by the action plugin of the same name. Changes nothing.
options:
  interface: {description: Network interface to use; empty for none named., type: str, default: ""}
  one_machine: {description: Whether all hosts of the run are one machine., type: bool, default: false}
  avoid: {description: Ports of earlier attempts., type: list, elements: int, default: []}
author: deepep-compiler authors
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "interface": {"type": "str", "default": ""},
            "one_machine": {"type": "bool", "default": False},
            "avoid": {"type": "list", "elements": "int", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        address = master_address(module.params["interface"] or None, module.params["one_machine"])
        port = free_port(module.params["avoid"])
    except RendezvousError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, address=address, port=port)


if __name__ == "__main__":
    main()
