"""Has a host look into the images that were staged there, and adds what it finds to its preflight."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_controller import DeepEPAction
from deepep_host import events
from deepep_host.preflight import FAIL, image


class ActionModule(DeepEPAction):
    """A host without an image to look into is not asked. A host that does not answer has unknown content."""

    ARGUMENTS = frozenset({"session", "work_dir", "python", "jit_cache_dir", "timeout_s", "tolerate"})

    def act(self) -> dict[str, Any]:
        if self.check_mode:
            return {"msg": "check mode: no image is looked into"}
        session = self.session()
        mine = [
            run
            for run in session.plan()["runs"]
            if any(member["name"] == self.host for member in run["hosts"])
            and not session.kept(run["id"])
            and session.skipped(run["id"]) is None
            # Only of what staging brought.
            and session.note(run["id"], f"image-{self.host}") is not None
        ]
        alike = image.groups(mine)
        answers = [(runs, self._look(runs)) for runs in alike]
        lines = image.keep(session, self.host, answers, image.NAME in (self.argument("tolerate", []) or []))
        failed = [line for line in lines if line["result"] == FAIL]
        for line in lines:
            events.append(session.results_dir, "image_content", host=self.host, result=line["result"],
                          text=line["text"])  # fmt: skip
        for line in failed:
            self._display.warning(f"{self.host}: {line['text']}; {line['remedy']}")
        return {"msg": "; ".join(line["text"] for line in lines) or "no image to look into"}

    def _look(self, runs: list[Any]) -> dict[str, Any]:
        answer = self.call(
            "deepep_preflight_image",
            run_id=self.session().run_id,
            host=self.host,
            work_dir=self.argument("work_dir", ""),
            run=runs[0]["id"],
            python=self.argument("python", ""),
            jit_cache_dir=self.argument("jit_cache_dir", ""),
            asked=json.dumps(image.questions(runs)),
            timeout_s=float(self.argument("timeout_s", image.TIMEOUT_S)),
        )
        return {"problem": answer.problem, "refused": False} if answer.problem else dict(answer.values)
