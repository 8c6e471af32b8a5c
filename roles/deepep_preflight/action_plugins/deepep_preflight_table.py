"""Compares the hosts, shows all of it as one table, and refuses the runs that cannot start. Runs once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_controller import DeepEPAction
from deepep_host import events
from deepep_host.files import now_iso, write_json
from deepep_host.preflight import FAIL, compare, refusal, table, worst
from deepep_host.preflight.model import entry
from deepep_host.session import Session

SILENT = {
    "result": FAIL,
    "checks": [entry("reachable", FAIL, "did not run", "see the messages above")],
}


class ActionModule(DeepEPAction):
    """Reads what every host registered as ``__deepep_preflight_result``, or what the session kept of it."""

    ARGUMENTS = frozenset({"session", "fail", "json", "close"})

    def act(self) -> dict[str, Any]:
        session = self.session() if self.argument("session") and not self.check_mode else None
        hosts = {host: self._found(session, host) for host in self._vars["ansible_play_hosts_all"]}
        plan = session.plan() if session else {"runs": []}
        across = compare(plan, hosts)
        refused = {}
        whole = {
            "schema": 1,
            "result": worst([*hosts.values(), *(line for group in across for line in group["checks"])]),
            "hosts": {host: found["result"] for host, found in hosts.items()},
            "across": across,
        }
        if session:
            refused = self._refuse(session, plan, hosts, across)
            write_json(session.folder / "preflight.json", {**whole, "refused": refused})
            if self.argument("close"):
                session.update(status="preflight", ended_at=now_iso())
        self._display.display("\n".join(table(hosts, across)))
        if self.argument("json"):
            write_json(self.argument("json"), {**whole, "refused": refused, "found": hosts})
        failed = [host for host, found in hosts.items() if found["result"] == FAIL]
        problems = [f"not ready: {', '.join(failed)}"] if failed else []
        problems += [f"{run} is not run: {reason}" for run, reason in refused.items()]
        if self.argument("fail", False) and (problems or whole["result"] == FAIL):
            return {"failed": True, "msg": "; ".join(problems) or "the hosts do not fit together"}
        return {"msg": "; ".join(problems) or "all hosts are ready", "result": whole["result"]}

    def _found(self, session: Session | None, host: str) -> dict[str, Any]:
        kept = session.preflight(host) if session else None
        found = kept or self._vars["hostvars"][host].get("__deepep_preflight_result") or {}
        return dict(found) if "checks" in found else dict(SILENT)

    def _refuse(
        self, session: Session, plan: dict[str, Any], hosts: dict[str, Any], across: list[dict[str, Any]]
    ) -> dict[str, str]:
        """Skips now, before anything is staged, what could not start later."""
        refused = {}
        for run in plan["runs"]:
            reason = refusal(run, hosts, across)
            if reason:
                session.skip(run["id"], reason)
                refused[run["id"]] = reason
        events.append(session.results_dir, "preflight_hosts", refused=sorted(refused))
        return refused
