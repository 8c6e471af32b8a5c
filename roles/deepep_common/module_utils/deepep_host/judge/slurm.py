"""What Slurm says of a run's job. srun's exit code alone is never believed: it was 0 after a power loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .codes import Reason, reason
from .evidence import Evidence

FACTS = "logs/slurm-job.json"

_REMEDIES = {
    "NODE_FAIL": "ask the administrators about the host, and exclude it until then (exclude_nodes)",
    "OUT_OF_MEMORY": "ask for all memory of the hosts: --mem=0 in deepep_slurm_sbatch_args",
    "PREEMPTED": "use a partition or QOS that is not preempted",
    "TIMEOUT": "raise time_limit, or deepep_slurm_margin_s where starting and handing over take long",
}


def check_job(evidence: Evidence, ends: list[Reason]) -> list[Reason]:
    """Returns why the job of a run does not prove that all went well; [] for a run over SSH.

    That the job failed says nothing new where a host's own end (in ``ends``) already says why.
    """
    if not evidence.run.get("slurm"):
        return []
    facts: Any = evidence.read_json(FACTS)
    if not isinstance(facts, Mapping):
        return [reason("slurm-job-missing", "nothing is known of how the run's job ended in Slurm", FACTS)]
    state = str(facts.get("state"))
    if "OUT_OF_MEMORY" in (facts.get("steps") or {}).values():
        # The job itself is FAILED then: its script lives on.
        text = f"Slurm says that a step of job {facts.get('job_id')} ended OUT_OF_MEMORY"
        return [reason("slurm-state", text, "slurm-job.toml", remedy=_REMEDIES["OUT_OF_MEMORY"])]
    if state == "COMPLETED" or (state == "FAILED" and ends):
        return []
    told = facts.get("state_text") or state
    text = f"Slurm says that job {facts.get('job_id')} on {facts.get('nodes') or 'no host'} ended {told}"
    text += f" with {facts.get('exit_code')}" if facts.get("exit_code") not in (None, "", "0:0") else ""
    return [reason("slurm-state", text, "slurm-job.toml", remedy=_REMEDIES.get(state))]
