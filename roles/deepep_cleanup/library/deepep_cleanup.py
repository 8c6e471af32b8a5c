#!/usr/bin/python
"""Removes what sessions left on this host."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deepep_host.cleanup import DAY_S, KEEP_DAYS, clean
from ansible.module_utils.deepep_host.state import WorkDirError, refuse_foreign, resolve_work_dir

DOCUMENTATION = """
module: deepep_cleanup
short_description: Remove what sessions left on this host
description: Called by the action plugin of the same name. Ends processes by their marks, never by name.
options:
  run_id: {description: Id of the session; empty for all that are not in use., type: str, default: ""}
  host: {description: Inventory name of this host., type: str, required: true}
  work_dir: {description: Work directory; empty for the default., type: str, default: ""}
  cache_dir: {description: Where image files are kept; empty for the work directory., type: str, default: ""}
  keep: {description: Runs whose files must stay., type: list, elements: str, default: []}
  keep_days:
    description: How long what was not collected of other sessions stays; 14 where nothing is said.
    type: float
author: deepep-compiler authors
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "run_id": {"type": "str", "default": ""},
            "host": {"type": "str", "required": True},
            "work_dir": {"type": "str", "default": ""},
            "cache_dir": {"type": "str", "default": ""},
            "keep": {"type": "list", "elements": "str", "default": []},
            "keep_days": {"type": "float", "default": KEEP_DAYS},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        work_dir = resolve_work_dir(given["work_dir"])
        refuse_foreign(work_dir)
        done = clean(
            work_dir,
            given["host"],
            given["run_id"],
            given["keep"],
            module.check_mode,
            given["keep_days"] * DAY_S,
            given["cache_dir"],
        )
    except (WorkDirError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(done["removed"] or done["ended"] or done["expired"]), **done)


if __name__ == "__main__":
    main()
