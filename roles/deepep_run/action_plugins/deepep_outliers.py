"""Compares the hosts' self-tests: who failed, and who is slower than the others. Works on the controller."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_controller import DeepEPAction
from deepep_host import events
from deepep_host.files import write_json
from deepep_host.selftest import compare, lines

TOLD = ("host", "operation", "is", "percent")


class ActionModule(DeepEPAction):
    """Leaves ``selftest.json``. A host that failed stops the runs that need it, an outlier stops none."""

    ARGUMENTS = frozenset({"session"})

    def act(self) -> dict[str, Any]:
        if self.check_mode:
            return {"msg": "check mode: there is nothing to compare"}
        session = self.session()
        found = compare(session.folder, session.plan())
        write_json(session.folder / "selftest.json", found)
        events.append(
            session.results_dir,
            "selftest",
            failed=found["failed"],
            outliers=[{name: one[name] for name in TOLD} for one in found["outliers"]],
            notes=[group["note"] for group in found["groups"] if group["note"]],
        )
        self._display.display("\n".join(lines(found)))
        slow = sorted({one["host"] for one in found["outliers"]})
        parts = [f"failed: {', '.join(found['failed'])}"] if found["failed"] else []
        parts += [f"outliers: {', '.join(slow)}"] if slow else []
        return {
            "msg": "; ".join(parts) or "all hosts passed their self-test",
            "failed_hosts": found["failed"],
        }
