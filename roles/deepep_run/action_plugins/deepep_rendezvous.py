"""Decides whether a run may start, and where its ranks meet. Runs once per run, on its first host."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_controller import DeepEPAction
from deepep_host import events
from deepep_host.files import now_iso
from deepep_host.session import Session, gate, on_one_machine


class ActionModule(DeepEPAction):
    """Leaves the meeting point in the session, or why the run is skipped."""

    ARGUMENTS = frozenset({"session", "run", "address"})

    def act(self) -> dict[str, Any]:
        key = self.argument("run")
        if self.check_mode:
            return {"msg": f"check mode: {key} is not started"}
        session = self.session()
        if session.kept(key):
            return {"msg": f"{key} is kept as it is", "skipped_run": True}
        run = session.run(key)
        session.run_dir(key).mkdir(parents=True, exist_ok=True)
        refused = gate(session, run) or _away(session, run)
        if refused:
            session.skip(key, str(refused["reason"]), refused["because"])
        skipped = session.skipped(key)
        if skipped:
            return {"msg": f"{key} is not run: {skipped['reason']}", "skipped_run": True}
        head = run["hosts"][0]["name"]
        if head != self.host:
            session.skip(key, f"its first host {head} left the play before")
            return {"msg": f"{key} is not run: {head} left the play before", "skipped_run": True}
        before = session.note(key, "rendezvous") or {}
        ports = [*before.get("ports_before", ()), *([before["master_port"]] if before else ())]
        answer = self.call(
            "deepep_rendezvous",
            interface=run.get("master_interface") or "",
            address=self.argument("address", ""),
            one_machine=on_one_machine(session.plan(), run),
            avoid=ports,
        )
        if answer.problem:
            session.skip(key, answer.problem)
            return {"msg": f"{key} is not run: {answer.problem}", "skipped_run": True}
        point = {"master_addr": answer.values["address"], "master_port": answer.values["port"]}
        session.take_note(
            key,
            "rendezvous",
            {**point, "attempt": len(ports) + 1, "ports_before": ports, "at": now_iso()},
        )
        events.append(session.results_dir, "rendezvous", run=key, host=self.host, **point)
        return {"msg": f"{key} meets at {point['master_addr']}:{point['master_port']}"}


def _away(session: Session, run: dict[str, Any]) -> dict[str, str] | None:
    """As ``gate``: a host that was lost and that ``deepep_back`` did not reach just now."""
    for member in run["hosts"]:
        gone = session.away(member["name"])
        if gone:
            reason = f"host {member['name']} was lost in {gone['run']} and does not answer: {gone['cause']}"
            return {"reason": reason, "because": gone["run"]}
    return None
