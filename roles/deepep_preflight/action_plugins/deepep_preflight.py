"""Examines a host and keeps the result in the session; a host that fails is no failure of the play."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_controller import DeepEPAction
from deepep_host import events
from deepep_host.files import read_json
from deepep_host.preflight import FAIL, WARN, clock, reach, wanted, worst
from deepep_host.preflight.catalogue import CONTROLLER
from deepep_host.preflight.model import entry
from deepep_host.session import on_one_machine

REMEDIES = {name: remedy for name, _, _, remedy in CONTROLLER}


class ActionModule(DeepEPAction):
    """What a host must have comes from the plan where there is one, else from the inventory (doctor)."""

    ARGUMENTS = frozenset(
        {
            "session",
            "bundle_dir",
            "work_dir",
            "python",
            "inventory",
            "min_free_mib",
            "image_free_mib",
            "image_dir",
            "jit_cache_dir",
            "master_address",
            "max_clock_skew_s",
            "tolerate",
        }
    )

    def act(self) -> dict[str, Any]:
        plan = self._plan()
        result = self._examine(plan)
        if self.argument("session") and not self.check_mode:
            session = self.session()
            session.keep_preflight(self.host, result)
            events.append(session.results_dir, "preflight", host=self.host, result=result["result"])
        worse = [
            f"{c['name']}: {c['text']}; {c['remedy']}"
            for c in result["checks"]
            if c["result"] in (WARN, FAIL)
        ]
        return {**result, "msg": "; ".join([f"{self.host}: {result['result']}", *worse])}

    def _examine(self, plan: dict[str, Any] | None) -> dict[str, Any]:
        sent = time.time()
        answer = self.call(
            "deepep_preflight",
            wanted=json.dumps(self._wanted(plan)),
            work_dir=self.argument("work_dir", ""),
            create=bool(self.argument("session")),
            listen=json.dumps(self._listener(plan)) if self._listener(plan) else "",
        )
        if answer.problem:
            remedy = (
                f"check its address, SSH key and user: ansible -m ping {self.host}"
                if answer.unreachable
                else "set ansible_python_interpreter to a Python 3.8 or newer on that host"
            )
            line = entry("reachable", FAIL, answer.problem, remedy)
            return {"result": FAIL, "checks": [line], "torch": {}}
        names = ("checks", "not_needed", "facts", "torch", "seconds", "listener")
        result = {name: answer.values[name] for name in names if name in answer.values}
        result["clock"] = list(clock.bounds(sent, time.time(), answer.values["times"]))
        limit = float(self.argument("max_clock_skew_s", 1))
        result["checks"].insert(1, clock.check(tuple(result["clock"]), limit, REMEDIES["clock"]))
        for line in result["checks"]:
            if line["result"] == FAIL and line["name"] in self._tolerated():
                line.update(result=WARN, text=f"{line['text']} (tolerated: deepep_preflight_tolerate)")
        return {"result": worst(result["checks"]), **result}

    def _tolerated(self) -> list[str]:
        return list(self.argument("tolerate", []) or [])

    def _wanted(self, plan: dict[str, Any] | None) -> dict[str, Any]:
        found = (
            wanted.of_inventory(
                {**self.argument("inventory", {}), "hosts": len(self._vars["ansible_play_hosts_all"])}
            )
            if plan is None
            else wanted.of_plan(plan, self.host, self.argument("python", ""))
        )
        return {
            **found,
            "min_free_mib": int(self.argument("min_free_mib", 512)),
            "image_free_mib": int(self.argument("image_free_mib", 0)),
            "image_dir": self.argument("image_dir", ""),
            "jit_cache_dir": self.argument("jit_cache_dir", ""),
            "master_address": self.argument("master_address", ""),
        }

    def _listener(self, plan: dict[str, Any] | None) -> dict[str, Any] | None:
        """Returns the arguments of a listener, where this host is the first of a run on several hosts."""
        if plan is None or not self.argument("session") or self.check_mode:
            return None
        others = reach.heads(plan).get(self.host)
        if not others:
            return None
        mine = [run for run in plan["runs"] if run["hosts"][0]["name"] == self.host and len(run["hosts"]) > 1]
        return {
            "run_id": self.session().run_id,
            "host": self.host,
            "interface": next(filter(None, (run.get("master_interface") for run in mine)), "") or "",
            "named": self.argument("master_address", ""),
            "one_machine": all(on_one_machine(plan, run) for run in mine),
            "peers": len(others),
        }

    def _plan(self) -> dict[str, Any] | None:
        if self.argument("session"):
            return self.session().plan()
        return read_json(Path(self.argument("bundle_dir", ".")) / "plan.json")
