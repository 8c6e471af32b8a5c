"""Gets every image that a host's runs need onto that host: from the registry once, then from host to host."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

import deepep_secrets
from ansible.errors import AnsibleError
from deepep_controller import Answer, DeepEPAction
from deepep_host import secret_scan
from deepep_host.files import read_json
from deepep_host.image import carrier, chunks
from deepep_host.registry import Login
from deepep_staging import TICK_S, HostFailed, Job

RENEW_S = 60.0
"""How often a host that waits for others hears of its session."""


class ActionModule(DeepEPAction):
    """Returns ``pending: true`` where hosts outnumber forks and others still need this one: it is asked
    again.
    """

    ARGUMENTS = frozenset(
        {
            "session",
            "work_dir",
            "interface",
            "address",
            "cache",
            "cache_dir",
            "pull_from",
            "pull_with",
            "fan_out",
            "timeout_s",
        }
    )

    def act(self) -> dict[str, Any]:
        if self.check_mode:
            plan = read_json(Path(self._vars["playbook_dir"]) / "plan.json") or {"runs": []}
            wanted = self._wanted(plan["runs"])
            texts = [f"{reference} for {runtime}" for reference, runtime in wanted]
            return {"msg": f"check mode: would stage {', '.join(texts) or 'no image'}", "pending": False}
        self._session = self.session()
        runs = self._session.played()
        wanted = self._wanted(runs)
        self._renewed = time.monotonic()
        self._limit = time.monotonic() + float(self.argument("timeout_s", 3600))
        jobs = [Job(self, runs, reference, runtime) for reference, runtime in wanted]
        for job in jobs:
            job.drive()
        while True:
            for job in jobs:
                job.help_others()
            waiting = [job for job in jobs if not job.board.over()]
            if not waiting or time.monotonic() > self._limit:
                break
            if not all(job.blocking for job in waiting):
                time.sleep(1.0)
                return {"msg": f"{self.host} waits for other hosts", "pending": True}
            self.tick()
        changed = any([job.close() for job in jobs])
        if all(job.board.over() for job in jobs):
            deepep_secrets.forget_transfer(self._session)
        texts = [job.text for job in jobs]
        return {"changed": changed, "pending": False, "msg": "; ".join(texts) or "no image is needed"}

    def _wanted(self, runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
        """Returns reference and runtime of each image that this host's runs need."""
        mine = [run for run in runs if any(member["name"] == self.host for member in run["hosts"])]
        pairs = [(run["image"], run["container_runtime"]) for run in mine]
        return list(dict.fromkeys(pair for pair in pairs if pair[0] and pair[1] != "none"))

    @property
    def limit(self) -> float:
        """When (monotonic) this host stops waiting."""
        return self._limit

    def verb(self, verb: str, **told: Any) -> Answer:
        """Calls the module on the host; what it is told never becomes a file or a log line there."""
        where = {
            "work_dir": self.argument("work_dir", ""),
            "cache_dir": self.argument("cache_dir", ""),
            "run_id": self._session.run_id,
            "host": self.host,
        }
        return self.call("deepep_image", verb=verb, told=json.dumps({**where, **told}))

    def tick(self) -> None:
        """Waits for a moment, and keeps the host for the session meanwhile."""
        time.sleep(TICK_S)
        if time.monotonic() - self._renewed > RENEW_S:
            self._renewed = time.monotonic()
            self.verb("renew")

    def login(self, place: str) -> Login:
        """Returns who asks ``registry/repository``. Raises HostFailed where it could not travel safely."""
        found = deepep_secrets.login(place, self._templar, self._vars)
        if found.known and not self._is_pipelining_enabled("new"):
            raise HostFailed(
                "credentials are given to hosts over standard input only, and pipelining is off: set "
                "ansible_pipelining: true (and no ANSIBLE_KEEP_REMOTE_FILES), or a become method that "
                "allows it"
            )
        if found.known:
            # For the search for secrets at the end: who used which, never the secret.
            secret_scan.record_use(self._session.folder, place, self.host)
        return found

    def copy_to(self, source: Path, name: str) -> str:
        """Brings a file of the controller's to the host; returns its path there. Raises HostFailed."""
        first = self._asked("put", name=name, offset=0, data="")
        path = str(first["path"])
        if not self._play_context.become:
            try:
                self._connection.put_file(str(source), path)
                return path
            except AnsibleError as error:
                raise HostFailed(f"the image could not be copied to {self.host}: {error}") from error
        offset = 0
        for data in carrier.stretches(source, chunks.SIZE):
            offset = int(self._asked("put", name=name, offset=offset, data=data)["size"])
        return path

    def copy_from(self, path: str, target: Path) -> None:
        """Brings a file of the host's to the controller. Raises HostFailed."""
        if not self._play_context.become:
            try:
                self._connection.fetch_file(path, str(target))
                return
            except AnsibleError as error:
                raise HostFailed(f"the image could not be fetched from {self.host}: {error}") from error
        with target.open("wb") as stream:
            while True:
                data = carrier.decoded(
                    self._asked("get", path=path, offset=stream.tell(), size=chunks.SIZE)["data"]
                )
                if not data:
                    return
                stream.write(data)

    def _asked(self, verb: str, **told: Any) -> dict[str, Any]:
        answer = self.verb(verb, **told)
        if answer.problem:
            raise HostFailed(answer.problem)
        return answer.values
