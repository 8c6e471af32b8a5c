"""In which order jobs are submitted, and after which others each of them may start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deepep_host import events
from deepep_host.files import now_iso
from deepep_host.session import SUBMITTED, Session
from deepep_host.slurm.job import ALL, SCRIPT
from deepep_slurm_controller import PATIENCE_S, SlurmAction


def submit(action: SlurmAction, session: Session, plan: Mapping[str, Any], keys: list[str]) -> dict[str, Any]:
    """Submits the jobs of these runs that have none yet; returns the task's result."""
    orders = list(_orders(session, plan, [key for key in keys if action.job(session, key) is None]))
    for order in orders:
        session.run_dir(order["keys"][0]).mkdir(parents=True, exist_ok=True)
        for key in order["keys"]:
            session.take_note(key, SUBMITTED, {"at": now_iso()})
    answer = action.ask(session, "submit", orders=orders, patience_s=PATIENCE_S)
    refused = []
    for order in orders:
        found = (answer.values.get("jobs") or {}).get(order["run"]) or {}
        problem = answer.problem or found.get("problem")
        for key in order["keys"]:
            session.run_dir(key).mkdir(parents=True, exist_ok=True)
            if problem:
                session.skip(key, str(problem))
                refused.append(key)
                continue
            job = action.keep_job(session, key, order["run"], found)
            events.append(session.results_dir, "start", run=key, host=action.host, status="submitted",
                          cause=None, deadline_at=None, job_id=job["job_id"])  # fmt: skip
    for key in refused:
        action.judge(session, key)
    count = len({order["run"] for order in orders}) - len(refused)
    return {
        "changed": bool(orders),
        "msg": f"submitted {max(count, 0)} jobs" + (f"; refused: {', '.join(refused)}" if refused else ""),
    }


def _orders(session: Session, plan: Mapping[str, Any], keys: list[str]) -> Iterator[dict[str, Any]]:
    """Yields what to submit, in order. ``keys`` of an order are the runs that its job holds."""
    slurm = plan["slurm"]
    if slurm["one_job"]:
        if keys:
            yield {
                "run": ALL,
                "keys": keys,
                "script": (session.scripts / SCRIPT).read_text(encoding="utf-8"),
                "after": [],
                "options": [],
                "stamp": session.stamp,
            }
        return
    runs = {run["id"]: run for run in plan["runs"]}
    chosen = first_hosts(session, plan) if slurm["same_hosts"] else None
    for key, before in predecessors(plan["steps"]).items():
        if key not in keys:
            continue
        run = runs[key]
        after = [
            [_KIND[one["type"]], one["run"]]
            for one in run["after"]
            # What is kept of an earlier execution has no job now; that it completed was seen before.
            if one["type"] in _KIND and not session.kept(one["run"])
        ]
        if not slurm["parallel"]:
            after += [["afterany", other] for other in before]
        options = []
        if slurm["same_hosts"] and run["slurm"]["any_hosts"]:
            if chosen:
                nodes = chosen[: len(run["hosts"])]
                options = [f"--nodelist={','.join(nodes)}"] if len(nodes) == len(run["hosts"]) else []
            elif any(_under_way(session, other) for other in runs):
                # Which hosts are the same is known once the first job has some.
                continue
        yield {
            "run": key,
            "keys": [key],
            "script": (session.scripts / key / SCRIPT).read_text(encoding="utf-8"),
            "after": after,
            "options": options,
            "stamp": session.stamp,
        }
        if slurm["same_hosts"] and not chosen:
            return


_KIND = {"start_post_comp": "afterok", "start_post_init": "after"}
"""Slurm's dependency for each of the scenario's that is one for Slurm too."""


def _under_way(session: Session, key: str) -> bool:
    return session.note(key, "slurm") is not None and session.verdict(key) is None


def first_hosts(session: Session, plan: Mapping[str, Any]) -> list[str] | None:
    """Returns the nodes that the first job got, None before it got any."""
    for run in plan["runs"]:
        found = session.note(run["id"], "hosts")
        if found:
            return [str(node) for node in found["nodes"]]
    return None


def predecessors(steps: list[dict[str, str]]) -> dict[str, list[str]]:
    """Returns for each run, in the order of their start, those that have to be over before.

    Over SSH the plays give that order; here every job waits for the last ones before it.
    """
    found: dict[str, list[str]] = {}
    over: list[str] = []
    since: list[str] = []
    for step in steps:
        if step["verb"] == "start":
            if since:
                over, since = since, []
            found[step["run"]] = list(over)
        elif step["verb"] == "finish":
            since.append(step["run"])
    return found
