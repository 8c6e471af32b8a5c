"""Answers ``localhost``, but only where the playbook runs whole: no part of a plan may be left out unseen.

Ansible ends with 0 when --limit, --tags or --start-at-task leave nothing to do. A play whose ``hosts`` ask
this plugin ends with an error instead.
"""

from __future__ import annotations

from typing import Any

from ansible import context
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: deepep_whole_run
short_description: Refuses options that leave out parts of a playbook
description:
  - Returns C(localhost) where the playbook was started without C(--limit), C(--tags), C(--skip-tags),
    C(--start-at-task) and C(--step).
  - Raises an error that names the option otherwise.
"""

RETURN = """
_raw:
  description: The host that opens the session.
  type: list
  elements: str
"""

LEAVES_OUT = (
    ("subset", "--limit"),
    ("skip_tags", "--skip-tags"),
    ("start_at_task", "--start-at-task"),
    ("step", "--step"),
)


class LookupModule(LookupBase):
    """The plugin; it takes no terms."""

    def run(self, terms: Any, variables: Any = None, **kwargs: Any) -> list[str]:
        """Returns ``["localhost"]``. Raises AnsibleLookupError where an option leaves something out."""
        arguments = context.CLIARGS
        found = [name for option, name in LEAVES_OUT if arguments.get(option)]
        if tuple(arguments.get("tags") or ("all",)) != ("all",):
            found.append("--tags")
        if found:
            raise AnsibleLookupError(
                f"{' and '.join(found)} would leave out parts of the plan: run the whole playbook, "
                "or compile a scenario without the rest"
            )
        return ["localhost"]
