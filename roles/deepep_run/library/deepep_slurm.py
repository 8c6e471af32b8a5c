#!/usr/bin/python
"""Does one thing with a session's jobs on the login host of a Slurm cluster."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deepep_host.slurm.command import SlurmAway, SlurmError
from ansible.module_utils.deepep_host.slurm.service import serve
from ansible.module_utils.deepep_host.state import WorkDirError

DOCUMENTATION = """
module: deepep_slurm
short_description: Do one thing with a session's jobs on the login host of a Slurm cluster
description: Called by the action plugins deepep_slurm_*. Knows jobs by their recorded ids only.
options:
  run_id: {description: Id of the session., type: str, required: true}
  login: {description: Inventory name of the login host., type: str, required: true}
  shared_dir: {description: Directory that login and compute hosts share, or nothing., type: str, default: ""}
  work_dir: {description: Work directory; empty for the default., type: str, default: ""}
  do:
    description: What to do.
    type: str
    required: true
    choices: [stage, submit, recorded, watch, cancel, fetch, parts, release, look, import, clean]
  given: {description: What that needs to know as JSON., type: str, default: "{}"}
author: deepep-compiler authors
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "run_id": {"type": "str", "required": True},
            "login": {"type": "str", "required": True},
            "shared_dir": {"type": "str", "default": ""},
            "work_dir": {"type": "str", "default": ""},
            "do": {
                "type": "str",
                "required": True,
                "choices": ["stage", "submit", "recorded", "watch", "cancel", "fetch", "parts", "release",
                            "look", "import", "clean"],
            },
            "given": {"type": "str", "default": "{}"},
        },
        no_log=True,
    )  # fmt: skip
    try:
        answer = serve(module.params)
    except SlurmAway as error:
        module.fail_json(msg=str(error), away=True)
    except (SlurmError, WorkDirError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**{"changed": False, **answer})


if __name__ == "__main__":
    main()
