"""What a job's end means for its run: states of hosts that left none, and ``slurm-job.toml``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..files import write_json, write_text
from ..session import Session
from ..state import ended, new_state
from ..toml_writer import dumps
from .job import Member
from .states import ENDINGS, state_word

FILE = "slurm-job.toml"
FACTS = "slurm-job.json"
"""The same for those who cannot read TOML: the judge, below ``logs/``."""


def ending_of(final: Mapping[str, Any]) -> tuple[str, str]:
    """Returns outcome and cause for a host of a job that ended so and left no end of its own."""
    state = state_word(str(final.get("state") or "UNKNOWN"))
    known = ENDINGS.get(state)
    if known is None:
        return "lost", f"job {final.get('job_id')} is not known to Slurm any more"
    text = f"job {final.get('job_id')} ended {final.get('state_text') or state}: {known.meaning}"
    return ("lost" if known.outcome == "exited" else known.outcome), text


def complete_states(
    session: Session,
    run: str,
    hosts: Sequence[Member],
    own: Mapping[str, Mapping[str, Any] | None],
    final: Mapping[str, Any],
    cause: str | None,
    words: str = "",
) -> dict[str, dict[str, Any]]:
    """Returns the last state of every host and keeps it in the session.

    ``own`` has what the hosts recorded themselves; ``final`` how the job ended; ``cause`` why it was
    stopped, where somebody did; ``words`` what the job script said of it. What a host recorded as its end
    stays; the job's end completes the others.
    """
    outcome, text = ending_of(final)
    text += f" ({words})" if words else ""
    states: dict[str, dict[str, Any]] = {}
    for member in hosts:
        state = dict(own.get(member.name) or {})
        if state.get("status") == "ended":
            if state.get("outcome") == "exited" and _ended_by_slurm(state, final):
                # Slurm's signal reached the program before its supervisor.
                state.update(outcome=outcome, exit_code=None, cause=text)
                state["first_failure_at"] = None if outcome == "stopped" else state["ended_at"]
            if state.get("outcome") == "stopped":
                state["cause"] = cause or _first_failure(own, member.name) or text
        else:
            before = {**new_state(session.run_id, run, member.name), **state}
            if not state:
                before["started_at"] = None
            told = cause if outcome == "stopped" and cause else text
            state = ended(before, outcome, told if state else f"{told}; this host recorded nothing")
        session.keep_host_state(run, member.name, state)
        states[member.name] = state
    return states


def _first_failure(own: Mapping[str, Mapping[str, Any] | None], host: str) -> str | None:
    """Returns which other host failed first, as ``await`` says it over SSH: that ended the others."""
    failures = sorted(
        (str(state["first_failure_at"]), other, str(state.get("cause") or state.get("outcome")))
        for other, state in own.items()
        if state and state.get("first_failure_at") and other != host
    )
    return f"{failures[0][1]} failed first: {failures[0][2]}" if failures else None


def _ended_by_slurm(state: Mapping[str, Any], final: Mapping[str, Any]) -> bool:
    """Returns whether a program died of a signal that Slurm sends when it ends a job."""
    ends = ("PREEMPTED", "CANCELLED", "TIMEOUT", "DEADLINE")
    signals = (-15, -9, 143, 137)
    return state_word(str(final.get("state"))) in ends and state.get("exit_code") in signals


def write_job(
    session: Session,
    run: str,
    hosts: Sequence[Member],
    final: Mapping[str, Any],
    submitted: Mapping[str, Any],
    extra: Mapping[str, Any],
) -> None:
    """Writes ``slurm-job.toml``, and more about the job for job.toml and the judge.

    CloudAI's reader refuses any key that is not its own; what it has no key for stands in comments there.
    """
    folder = session.run_dir(run)
    names = ("job_id", "name", "state", "start_time", "end_time", "elapsed_time_sec", "exit_code")
    steps = [
        {
            **{name: step.get(name, "") for name in names},
            "job_id": _number(step.get("job_id")),
            "step_id": str(step.get("step_id", "")),
            "submit_line": str(step.get("submit_line", "")),
        }
        for step in final.get("steps") or ()
    ]
    held = [step["submit_line"] for step in steps if "slurm_task.py run" in step["submit_line"]]
    table: dict[str, Any] = {
        "job_id": _number(final.get("job_id")),
        "name": str(final.get("name", "")),
        "state": str(final.get("state", "UNKNOWN")),
        "start_time": str(final.get("start_time", "")),
        "end_time": str(final.get("end_time", "")),
        "elapsed_time_sec": int(final.get("elapsed_time_sec") or 0),
        "exit_code": str(final.get("exit_code", "")),
        "srun_cmd": held[0] if held else "",
        "test_cmd": " ".join(map(str, submitted.get("argv") or ())),
        "is_single_sbatch": bool(extra.get("one_job")),
        "job_root": str(folder),
        "job_steps": steps,
    }
    told = [f"rank {host.node_rank} of the hosts: {host.name}, in Slurm {host.node}" for host in hosts]
    told.append(f"from {final.get('source') or 'nowhere'}; state in full: {final.get('state_text')}")
    comments = "".join(f"# {line}\n" for line in told)
    write_text(folder / FILE, comments + dumps(table))
    facts = {
        name: final.get(name) for name in ("job_id", "state", "state_text", "exit_code", "source", "nodes")
    }
    facts.update(
        hosts={host.name: host.node for host in hosts},
        steps={str(step.get("step_id")): str(step.get("state")) for step in final.get("steps") or ()},
        submitted_at=submitted.get("at"),
        waited_s=extra.get("waited_s"),
        reason=extra.get("reason"),
    )
    write_json(folder / "logs" / FACTS, facts)


def _number(job_id: Any) -> int:
    text = str(job_id or 0)
    return int(text) if text.isdigit() else 0
