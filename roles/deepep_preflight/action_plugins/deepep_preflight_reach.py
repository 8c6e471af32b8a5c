"""Has a host connect to the first host of each of its runs, and adds the result to its preflight."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_controller import DeepEPAction
from deepep_host.preflight import reach


class ActionModule(DeepEPAction):
    """A host that has nobody to reach is not asked."""

    ARGUMENTS = frozenset({"session"})

    def act(self) -> dict[str, Any]:
        if self.check_mode:
            return {"msg": "check mode: nothing listens, nothing is connected"}
        session = self.session()
        plan = session.plan()
        targets = reach.targets(plan, self.host, reach.listeners(session, plan))
        answers = []
        if targets:
            answer = self.call("deepep_preflight_reach", listeners=json.dumps(targets))
            if answer.problem:
                return {"msg": answer.problem}
            answers = answer.values["reached"]
        reach.keep(session, plan, self.host, answers)
        return {"msg": f"tried {len(targets)} hosts"}
