"""Examines a host and keeps the result in the session; a host that fails is no failure of the play."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_controller import DeepEPAction
from deepep_host import events
from deepep_host.files import host_name, read_json, write_json
from deepep_host.preflight import FAIL, check


class ActionModule(DeepEPAction):
    """What a host must have comes from the plan where there is one, else from the inventory (doctor)."""

    ARGUMENTS = frozenset(
        {
            "session",
            "bundle_dir",
            "work_dir",
            "python",
            "runtime",
            "master_interface",
            "min_free_mib",
            "max_clock_skew_s",
        }
    )

    def act(self) -> dict[str, Any]:
        answer = self.call(
            "deepep_preflight",
            controller_time=time.time(),
            create=bool(self.argument("session")),
            work_dir=self.argument("work_dir", ""),
            min_free_mib=self.argument("min_free_mib", 512),
            max_clock_skew_s=self.argument("max_clock_skew_s", 30),
            **self._wanted(),
        )
        if answer.problem:
            remedy = (
                "check its address, SSH key and user: ansible -m ping " + self.host
                if answer.unreachable
                else "set ansible_python_interpreter to a Python 3.8 or newer on that host"
            )
            entry = check("reachable", FAIL, answer.problem, remedy)
            result: dict[str, Any] = {"result": FAIL, "checks": [entry], "torch": {}}
        else:
            result = {name: answer.values[name] for name in ("result", "checks", "torch")}
        if self.argument("session") and not self.check_mode:
            session = self.session()
            write_json(
                session.folder / "preflight" / f"{host_name(self.host)}.json",
                {"host": self.host, **result},
            )
            events.append(session.results_dir, "preflight", host=self.host, result=result["result"])
        worse = [
            f"{c['name']}: {c['text']}; {c['remedy']}" for c in result["checks"] if c["result"] != "pass"
        ]
        return {**result, "msg": "; ".join([f"{self.host}: {result['result']}", *worse])}

    def _wanted(self) -> dict[str, Any]:
        plan = self._plan()
        python = self.argument("python", "")
        if plan is None:
            bare = self.argument("runtime", "") == "none"
            return {
                "python": python if bare else "",
                "master_interface": self.argument("master_interface", ""),
            }
        mine = [run for run in plan["runs"] if any(member["name"] == self.host for member in run["hosts"])]
        bare = any(run["container_runtime"] == "none" and run["program"] == "bundled" for run in mine)
        interfaces = [run.get("master_interface") for run in mine if run["hosts"][0]["name"] == self.host]
        return {"python": python if bare else "", "master_interface": next(filter(None, interfaces), "")}

    def _plan(self) -> dict[str, Any] | None:
        if self.argument("session"):
            return self.session().plan()
        return read_json(Path(self.argument("bundle_dir", ".")) / "plan.json")
