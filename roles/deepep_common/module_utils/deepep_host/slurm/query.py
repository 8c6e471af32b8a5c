"""Reads what Slurm says of jobs: one call for many of them, whatever became of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .command import SlurmError, ask, call
from .states import state_word

_SQUEUE = "%A|%T|%r|%N|%k"
_SACCT = ("JobID", "JobName", "State", "ExitCode", "Start", "End", "ElapsedRaw", "NodeList", "SubmitLine")
_PAIR = re.compile(r"(?:^|\s)([A-Za-z][A-Za-z0-9_/:]*)=")


class Seen(NamedTuple):
    """One job in one look at the queue. ``comment`` is what the job script wrote last."""

    job_id: str
    state: str
    reason: str
    nodes: str
    comment: str


def queue(job_ids: Sequence[str], patience_s: float) -> dict[str, Seen]:
    """Returns the jobs that the controller still knows: one query, finished ones of the last minutes too.

    Raises SlurmError, SlurmAway.
    """
    if not job_ids:
        return {}
    argv = ["squeue", "--noheader", "--states=all", f"--jobs={','.join(job_ids)}", f"--format={_SQUEUE}"]
    try:
        text = ask(argv, patience_s)
    except SlurmError as error:
        # What squeue says where it knows none of them any more.
        if "invalid job id" in str(error).lower():
            return {}
        raise
    return {seen.job_id: seen for seen in parse_squeue(text)}


def parse_squeue(text: str) -> Iterable[Seen]:
    """Yields the jobs of squeue's output in our format."""
    for line in text.splitlines():
        cells = line.strip().split("|", 4)
        if len(cells) == 5 and cells[0].isdigit():
            comment = "" if cells[4] in ("(null)", "n/a") else cells[4].strip()
            yield Seen(cells[0], cells[1], cells[2], cells[3], comment)


def accounting(job_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns jobs with their steps from sacct; {} where there is no accounting, or it does not answer."""
    try:
        done = call(["sacct", "--parsable2", "--noheader", "--duplicates", f"--jobs={','.join(job_ids)}",
                     f"--format={','.join(_SACCT)}"])  # fmt: skip
    except SlurmError:
        return {}
    return parse_sacct(done.out) if done.code == 0 else {}


def parse_sacct(text: str) -> dict[str, dict[str, Any]]:
    """Returns ``{job id: job}`` of sacct's output in our format; the steps are in ``steps``."""
    jobs: dict[str, dict[str, Any]] = {}
    for line in text.splitlines():
        cells = line.split("|", len(_SACCT) - 1)
        if len(cells) != len(_SACCT):
            continue
        whole, name, state, code, start, end, elapsed, nodes, submitted = cells
        job_id, _, step = whole.partition(".")
        facts = {
            "job_id": job_id,
            "name": name,
            "state": state_word(state),
            "state_text": state,
            "exit_code": code,
            "start_time": start,
            "end_time": end,
            "elapsed_time_sec": int(elapsed) if elapsed.isdigit() else 0,
            "nodes": nodes,
            "submit_line": submitted,
        }
        if step:
            jobs.setdefault(job_id, {"job_id": job_id, "steps": []})["steps"].append(
                {**facts, "step_id": step}
            )
        else:
            # A requeued job has one line per attempt; the last one counts.
            jobs[job_id] = {**facts, "steps": jobs.get(job_id, {}).get("steps", []), "source": "sacct"}
    return {key: job for key, job in jobs.items() if "state" in job}


def controller(job_id: str) -> dict[str, Any] | None:
    """Returns a job as ``scontrol show job`` has it, None once the controller forgot it."""
    try:
        done = call(["scontrol", "--oneliner", "show", "job", job_id])
    except SlurmError:
        return None
    return parse_scontrol(done.out) if done.code == 0 else None


def parse_scontrol(text: str) -> dict[str, Any] | None:
    """Returns the facts of one line of ``scontrol --oneliner show job``."""
    pairs = read_pairs(text)
    if "JobId" not in pairs or "JobState" not in pairs:
        return None
    return {
        "job_id": pairs["JobId"],
        "name": pairs.get("JobName", ""),
        "state": pairs["JobState"],
        "state_text": pairs["JobState"],
        "exit_code": pairs.get("ExitCode", ""),
        "start_time": pairs.get("StartTime", ""),
        "end_time": pairs.get("EndTime", ""),
        "elapsed_time_sec": seconds(pairs.get("RunTime", "")),
        "nodes": _none(pairs.get("NodeList")),
        "reason": pairs.get("Reason", ""),
        "restarts": int(pairs.get("Restarts", "0") or 0),
        "submit_line": "",
        "steps": [],
        "source": "scontrol",
    }


def completion_log(job_id: str) -> dict[str, Any] | None:
    """Returns a job from the log of ``jobcomp/filetxt``, None where there is none that can be read."""
    try:
        text = call(["scontrol", "show", "config"]).out
    except SlurmError:
        return None
    config = {
        key.strip(): value.strip() for key, _, value in (line.partition("=") for line in text.splitlines())
    }
    if config.get("JobCompType") != "jobcomp/filetxt":
        return None
    try:
        lines = Path(config.get("JobCompLoc", "")).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next(filter(None, (parse_jobcomp(line, job_id) for line in reversed(lines))), None)


def parse_jobcomp(line: str, job_id: str) -> dict[str, Any] | None:
    """Returns the facts of one line of the completion log if it is this job's."""
    pairs = read_pairs(line)
    if pairs.get("JobId") != job_id or "JobState" not in pairs:
        return None
    return {
        "job_id": job_id,
        "name": pairs.get("Name", ""),
        "state": pairs["JobState"],
        "state_text": pairs["JobState"],
        "exit_code": pairs.get("ExitCode", ""),
        "start_time": pairs.get("StartTime", ""),
        "end_time": pairs.get("EndTime", ""),
        "elapsed_time_sec": 0,
        "nodes": _none(pairs.get("NodeList")),
        "submit_line": "",
        "steps": [],
        "source": "jobcomp/filetxt",
    }


def read_pairs(text: str) -> Mapping[str, str]:
    """Returns ``KEY=VALUE KEY=VALUE`` as a mapping; values may hold blanks."""
    found = list(_PAIR.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return {match.group(1): text[match.end() : end].strip() for match, end in zip(found, ends)}


def seconds(text: str) -> int:
    """Returns Slurm's ``[[D-]HH:]MM:SS`` in seconds, 0 for anything else."""
    match = re.match(r"^(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)$", text)
    if not match:
        return 0
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def host_names(expression: str) -> list[str]:
    """Returns the names that a node list such as ``node[1-2,7]`` stands for, in Slurm's order."""
    if not expression or expression in ("None assigned", "(null)"):
        return []
    done = call(["scontrol", "show", "hostnames", expression])
    return done.out.split() if done.code == 0 else []


def away(nodes: Sequence[str]) -> dict[str, str]:
    """Returns the state of those nodes that cannot take a job whatever else runs on them."""
    done = call(["sinfo", "--noheader", "--Node", f"--nodes={','.join(nodes)}", "--format=%N %T"])
    pairs = [line.split() for line in done.out.splitlines() if len(line.split()) == 2]
    gone = ("down", "drain", "fail", "unknown", "power", "reboot", "maint")
    return {name: state for name, state in pairs if state.endswith("*") or state.startswith(gone)}


def _none(text: str | None) -> str:
    return "" if text in (None, "(null)", "None") else str(text)
