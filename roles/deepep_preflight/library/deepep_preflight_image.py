#!/usr/bin/python
"""Looks into an image that was staged on this host."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deepep_host.verbs import perform

DOCUMENTATION = """
module: deepep_preflight_image
short_description: Look into an image that was staged on this host
description: Called by the action plugin of the same name. Starts one short container with a run's settings.
options:
  run_id: {description: Id of the session., type: str, required: true}
  host: {description: Inventory name of this host., type: str, required: true}
  run: {description: Id of the run whose container it is., type: str, required: true}
  work_dir: {description: Work directory; empty for the default., type: str, default: ""}
  python: {description: Interpreter in the container., type: str, default: ""}
  jit_cache_dir: {description: Where containers keep compiled kernels., type: str, default: ""}
  asked: {description: What to look for as JSON., type: str, required: true}
  timeout_s: {description: How long the container may take., type: float, default: 120}
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
            "asked": {"type": "str", "required": True},
            "timeout_s": {"type": "float", "default": 120},
        },
        no_log=True,
    )
    answer = perform("content", module.params)
    module.fail_json(**answer) if answer.get("failed") else module.exit_json(**answer)


if __name__ == "__main__":
    main()
