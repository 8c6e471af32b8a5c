"""Names the hosts of a run that an earlier run of the session lost, for a task that asks just those."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "module_utils"))

from ansible.plugins.lookup import LookupBase
from deepep_host.session import Session

DOCUMENTATION = """
name: deepep_away
short_description: Names the hosts of a run that were lost and have not been heard of since
options:
  _terms:
    description: Id of the run.
    required: true
  session:
    description: The open session, the fact C(deepep_session).
    type: dict
    required: true
"""

RETURN = """
_raw:
  description: Inventory names; empty before a run has lost a host.
  type: list
  elements: str
"""


class LookupModule(LookupBase):
    """The plugin; its terms are ids of runs."""

    def run(self, terms: Any, variables: Any = None, **kwargs: Any) -> list[str]:
        """Returns the names, each once, in the order of the plan."""
        given = kwargs["session"]
        if not given:
            return []
        session = Session.of_fact(given)
        runs = (session.run(str(key)) for key in terms if key)  # none where all runs are taken up
        members = (member["name"] for run in runs for member in run["hosts"])
        return [name for name in dict.fromkeys(members) if session.away(name)]
