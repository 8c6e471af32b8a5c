#!/usr/bin/python
"""Gets one image onto this host: resolve, begin, fetch, look, close."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deepep_host.image.requests import perform

DOCUMENTATION = """
module: deepep_image
short_description: Get one image onto this host
description: Called by the action plugin of the same name. What it is told may hold credentials, so it is told
  on standard input alone (pipelining) and never logged.
options:
  verb: {description: What to do., type: str, required: true}
  told: {description: The arguments of the verb as JSON., type: str, required: true}
author: deepep-compiler authors
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "verb": {"type": "str", "required": True},
            "told": {"type": "str", "required": True, "no_log": True},
        },
        no_log=True,
    )
    answer = perform(module.params)
    if answer.get("failed"):
        module.fail_json(msg=answer["msg"])
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
