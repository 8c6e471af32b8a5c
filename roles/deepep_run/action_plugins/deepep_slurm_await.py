"""Follows all jobs of a session to their ends: fetches, judges, and ends what depends on them."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

from deepep_host.session import Session
from deepep_slurm_controller import OVER, PATIENCE_S, WAITS, SlurmAction, handing_over, held, hopeless
from deepep_slurm_orders import submit


class ActionModule(SlurmAction):
    """One query per polling interval, however many jobs there are.

    With ``adopt``, for a session whose controller was lost: what was never submitted is left so.
    """

    ARGUMENTS = frozenset({"session", "work_dir", "limit_mb", "adopt"})

    def act(self) -> dict[str, Any]:
        if self.check_mode:
            return {"msg": "check mode: no job to wait for"}
        session = self.session()
        slurm = self._slurm(session)
        self._collected: set[str] = set()
        self._hopeless: dict[str, float] = {}
        prints: dict[str, str] = {}
        away_since: float | None = None
        jobs = self.submitted(session)
        while jobs:
            answer = self.ask(
                session, "watch", jobs={key: job["job_id"] for key, job in jobs.items()}, seen=prints,
                poll_s=slurm["poll_s"], wait_s=30.0 + slurm["poll_s"], patience_s=PATIENCE_S,
            )  # fmt: skip
            if answer.problem:
                away_since = away_since or time.monotonic()
                self._display.warning(f"{answer.problem}; the jobs go on")
                if time.monotonic() - away_since > 2 * PATIENCE_S:
                    return {"msg": f"gave up on {len(jobs)} jobs: {answer.problem}"}
                time.sleep(slurm["poll_s"])
                continue
            away_since = None
            for key, found in answer.values["jobs"].items():
                prints[key] = found["print"]
                self.observe(session, key, found)
            self._advance(session, jobs, answer.values["jobs"], slurm, prints)
            # Another job's end may have ended or skipped some.
            jobs = self.submitted(session)
        problems = self.salvage(session)
        return {"msg": "; ".join(["all jobs are over", *problems])}

    def _advance(
        self,
        session: Session,
        jobs: Mapping[str, Mapping[str, Any]],
        changed: Mapping[str, Mapping[str, Any]],
        slurm: Mapping[str, Any],
        prints: dict[str, str],
    ) -> None:
        for key, job in jobs.items():
            if session.verdict(key) is not None:
                continue
            found = changed.get(key)
            if found is not None and found["phase"] == OVER:
                if key not in self._collected:
                    self.collect(session, key, job, ask_hosts=False)
                self._over(session, key, self.conclude(session, key, job, found))
            elif (
                found is not None
                and handing_over(found)
                and not job.get("shared")
                and key not in self._collected
            ):
                if self.collect(session, key, job) is not None:
                    # The job waits a while: the next look tries again, and its end gives up.
                    prints.pop(key, None)
                    continue
                self._collected.add(key)
                if all(other in self._collected for other in jobs if jobs[other]["job_id"] == job["job_id"]):
                    self.ask(session, "release", job=job["job"])
            else:
                self._waiting(session, key, job, slurm)
        if slurm["same_hosts"]:
            plan = session.plan()
            left = [run["id"] for run in plan["runs"]
                    if not session.skipped(run["id"]) and not session.kept(run["id"])
                    and self.job(session, run["id"]) is None]  # fmt: skip
            if left and session.stop_request() is None and not self.argument("adopt", False):
                submit(self, session, plan, left)

    def _over(self, session: Session, key: str, verdict: str) -> None:
        """Acts on the end of a run: ends those that end with it, and those that needed it to pass."""
        for other, reason in self.skip_dependents(session, key, verdict).items():
            session.skip(other, reason, key)
            job = self.job(session, other)
            if job:
                self.end(session, {other: job}, reason)
            self._over(session, other, self.judge(session, other))
        for run in session.plan()["runs"]:
            ends = any(one["type"] == "end_post_comp" and one["run"] == key for one in run["after"])
            job = self.job(session, run["id"])
            if ends and job and session.verdict(run["id"]) is None:
                self.end(session, {run["id"]: job}, f"ends with {key}")

    def _waiting(self, session: Session, key: str, job: Mapping[str, Any], slurm: Mapping[str, Any]) -> None:
        """Ends a job that will never start, or has waited, been held or suspended for too long."""
        seen = session.note(key, "seen") or {}
        since = time.time() - float(seen.get("since") or time.time())
        found = {"phase": seen.get("phase"), "reason": seen.get("reason", "")}
        still = found["phase"] == WAITS or seen.get("state") == "SUSPENDED"
        if seen.get("started_at") and found["phase"] == WAITS:
            text = f"job {job['job_id']} was requeued; a measured run is not repeated in silence"
            self.end(session, {key: job}, text)
            return
        cause = hopeless(found, since)
        if cause is None and still and since > float(slurm["queue_limit_s"]):
            how = "was held" if held(found) else "waited" if found["phase"] == WAITS else "was suspended"
            cause = f"job {job['job_id']} {how} for more than {slurm['queue_limit_s']} s"
        if cause is None:
            return
        if found["phase"] == WAITS:
            session.skip(key, f"Slurm will not start job {job['job_id']}: {cause}"
                         if hopeless(found, since) else cause)  # fmt: skip
        self.end(session, {key: job}, cause)
