#!/usr/bin/python
"""Says what there is to fetch of a run on this host, and packs parts of it."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deepep_host.verbs import perform

DOCUMENTATION = """
module: deepep_pack
short_description: Say what there is to fetch of a run on this host, and pack parts of it
description:
  - Called by the action plugin deepep_collect. Regular files of the run's directory only.
  - Without C(index) it returns the run's state and an index of its files; small ones come along.
  - With C(index) it packs the C(parts) of that index, removes all others, and returns where they lie.
options:
  run_id: {description: Id of the session., type: str, required: true}
  host: {description: Inventory name of this host., type: str, required: true}
  run: {description: Id of the run., type: str, required: true}
  work_dir: {description: Work directory; empty for the default., type: str, default: ""}
  limit_bytes: {description: Leave out what is beyond; 0 for no limit., type: int, default: 0}
  index: {description: Id of the index whose parts are wanted; empty to make one., type: str, default: ""}
  parts: {description: Numbers of the parts to pack., type: list, elements: int, default: []}
  inline: {description: Return the first one's content instead of leaving files., type: bool, default: false}
  inline_bytes: {description: Largest size of files that come along., type: int, default: 1048576}
author: deepep-compiler authors
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "run_id": {"type": "str", "required": True},
            "host": {"type": "str", "required": True},
            "run": {"type": "str", "required": True},
            "work_dir": {"type": "str", "default": ""},
            "limit_bytes": {"type": "int", "default": 0},
            "index": {"type": "str", "default": ""},
            "parts": {"type": "list", "elements": "int", "default": []},
            "inline": {"type": "bool", "default": False},
            "inline_bytes": {"type": "int", "default": 1024 * 1024},
        },
        no_log=True,
    )
    answer = perform("pack", module.params)
    module.fail_json(**answer) if answer.get("failed") else module.exit_json(**answer)


if __name__ == "__main__":
    main()
