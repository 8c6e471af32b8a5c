"""Shows the preflight of all hosts of the play as one table, and fails on request."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_controller import DeepEPAction


class ActionModule(DeepEPAction):
    """Reads what every host registered as ``__deepep_preflight_result``."""

    ARGUMENTS = frozenset({"fail"})

    def act(self) -> dict[str, Any]:
        hosts = list(self._vars["ansible_play_hosts_all"])
        results = {host: self._vars["hostvars"][host].get("__deepep_preflight_result") for host in hosts}
        failed = [host for host, found in results.items() if not found or found["result"] == "fail"]
        self._display.display("\n".join(table(results)))
        if failed and self.argument("fail", False):
            return {"failed": True, "msg": f"not ready: {', '.join(failed)}"}
        return {"msg": f"not ready: {', '.join(failed)}" if failed else "all hosts are ready"}


def table(results: dict[str, Any]) -> list[str]:
    """Returns one line a check, hosts in the given order, the way out below what is not pass."""
    width = max([4, *(len(host) for host in results)])
    lines = [f"{'host':{width}}  {'check':16}  result  finding"]
    for host, found in results.items():
        for entry in (found or {}).get("checks") or [
            {"name": "preflight", "result": "fail", "text": "did not run", "remedy": "see the messages above"}
        ]:
            lines.append(f"{host:{width}}  {entry['name']:16}  {entry['result']:6}  {entry['text']}")
            if entry["remedy"]:
                lines.append(f"{'':{width}}  {'':16}  {'':6}  -> {entry['remedy']}")
    return lines
