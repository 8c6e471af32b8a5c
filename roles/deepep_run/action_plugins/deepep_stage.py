"""Puts the program, the supervisor and this host's part of the plan on a host: one module call."""

from __future__ import annotations

import base64
import getpass
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_controller import DeepEPAction
from deepep_host import events
from deepep_host.preflight import reach
from deepep_host.program import host_slice, pack_program


class ActionModule(DeepEPAction):
    """The plan goes as a module argument and never through a template."""

    ARGUMENTS = frozenset({"session", "work_dir", "python", "keep_days", "lease_dir"})

    def act(self) -> dict[str, Any]:
        archive, sha256, files = pack_program(Path(__file__).resolve().parents[2])
        if self.check_mode:
            return {"msg": f"check mode: would stage {files} files ({len(archive) // 1024} KiB compressed)"}
        session = self.session()
        plan = session.plan()
        mine = host_slice(plan, self.host)
        mine.update(run_id=session.run_id, stamp=session.stamp)
        if mine["runs"] and all(session.skipped(run) for run in mine["runs"]):
            return {"msg": f"no run can use {self.host}: nothing is staged"}
        preflight = session.preflight(self.host) or {}
        keep_days = self.argument("keep_days")
        answer = self.call(
            "deepep_stage",
            run_id=session.run_id,
            host=self.host,
            work_dir=self.argument("work_dir", ""),
            python=self.argument("python", ""),
            archive=base64.b64encode(archive).decode(),
            sha256=sha256,
            slice=json.dumps(mine),
            torch=json.dumps(preflight.get("torch") or {}),
            reach=json.dumps(reach.targets(plan, self.host, reach.listeners(session, plan))),
            lease_dir=self.argument("lease_dir", ""),
            mine=session.run_ids(),
            started_by=f"{getpass.getuser()} on {session.describe().get('controller')}",
            results=session.results_dir,
            **({} if keep_days is None else {"keep_days": float(keep_days)}),
        )
        expired = answer.values.get("expired") or []
        events.append(session.results_dir, "stage", host=self.host, problem=answer.problem, expired=expired)
        if answer.problem:
            # Whatever needs this host is not started, and says why.
            for run in mine["runs"]:
                session.skip(run, f"host {self.host} could not be staged: {answer.problem}")
            return {"msg": answer.problem, "staged": False}
        where = (answer.values[name] for name in ("interpreter", "program", "work_dir"))
        session.keep_staged(self.host, *where)
        # The network between hosts is tried here, since this step comes anyway (preflight/reach.py).
        reach.keep(session, plan, self.host, answer.values["reached"])
        texts = [f"{files} files", *(f"removed for its age {text}" for text in expired)]
        return {"changed": answer.values.get("changed", False), "staged": True, "msg": "; ".join(texts)}
