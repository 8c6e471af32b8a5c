"""Asks a host that an earlier run lost whether it answers again, before another run needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_controller import DeepEPAction
from deepep_host import events


class ActionModule(DeepEPAction):
    """For a task that is delegated to that host; one that does not answer stays away."""

    ARGUMENTS = frozenset({"session", "host"})

    @property
    def host(self) -> str:
        """The host that is asked, not the one whose task this is."""
        return str(self.argument("host"))

    def act(self) -> dict[str, Any]:
        if self.check_mode:
            return {"msg": f"check mode: {self.host} is not asked"}
        session = self.session()
        answer = self.call("ansible.builtin.ping")
        self._facts.clear()  # they would become those of the host whose task this is
        if answer.problem:
            return {"msg": answer.problem}
        session.back(self.host)
        events.append(session.results_dir, "back", host=self.host)
        return {"msg": f"{self.host} answers again"}
