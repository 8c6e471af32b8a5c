"""Whether everything that the plan expects came back: files, end markers, every rank's record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..pack import LIMIT, WHY
from .codes import Reason, reason
from .evidence import Evidence, Unreadable, log_name

RUN_FILES = (
    "launch.json",
    "job.toml",
    "test-run.toml",
    "config.yaml",
    "env_vars.sh",
    "hostfile.txt",
    "stdout.txt",
    "stderr.txt",
)
"""Files that every run that was started leaves behind."""

_MAY_BE_EMPTY = ("stdout.txt", "stderr.txt", "env_vars.sh")


def check_files(evidence: Evidence) -> list[Reason]:
    """Returns which of the run's own files, metadata and logs are missing."""
    reasons = []
    names = list(RUN_FILES) + [f"metadata/node-{host}.toml" for host in evidence.hosts]
    for name in names:
        if name not in evidence.files:
            reasons.append(reason("file-missing", f"{name} is missing", name))
        elif not evidence.files[name] and name not in _MAY_BE_EMPTY:
            reasons.append(reason("file-missing", f"{name} is empty", name))
    for host in evidence.hosts:
        for kind in ("stdout", "stderr"):
            if log_name(host, kind) not in evidence.files:
                text = f"the {kind} of {host} is missing"
                reasons.append(reason("log-missing", text, log_name(host, kind), host=host))
    return reasons


def check_result_files(evidence: Evidence, result_dir: str) -> list[Reason]:
    """Returns which of the files that the plan expects in the result directory are missing or empty."""
    reasons = []
    for name in evidence.run["expect"]["files"]:
        path = f"{result_dir}/{name}"
        if not evidence.files.get(path):
            what = "empty" if path in evidence.files else "missing"
            reasons.append(reason("file-missing", f"{name} is {what}", path))
    return reasons


def check_traces(evidence: Evidence) -> list[Reason]:
    """Returns whether profiler traces are missing, but for those that were too large to be fetched."""
    expected = int(evidence.run["expect"].get("traces") or 0)
    names = {r: f"traces/rank-{r:04d}.json" for r in range(expected)}
    left_out = evidence.left_out
    missing = [
        r
        for r, name in names.items()
        if not evidence.files.get(name) and left_out.get(name, {}).get("why") != LIMIT
    ]
    if not missing:
        return []
    return [reason("trace-missing", f"no profiler trace of {ranks_text(missing)}", "traces")]


def notes_on_left_out(evidence: Evidence) -> list[str]:
    """Returns what was not fetched, the largest file first, one sentence per reason."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for path, one in evidence.left_out.items():
        size = one.get("bytes")
        groups.setdefault(str(one.get("why")), []).append((size if isinstance(size, int) else 0, path))
    notes = []
    for why, files in sorted(groups.items()):
        files.sort(key=lambda pair: (-pair[0], pair[1]))
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        total = sum(size for size, _ in files)
        size_text = f", {total / 1e6:.1f} MB" if total else ""
        kept = "; it stays on the host for a while" if why == LIMIT else ""
        notes.append(
            f"not fetched ({WHY.get(why, why)}{size_text}): {files[0][1]}{more}{kept}; see left_out.json"
        )
    return notes


def check_markers(evidence: Evidence) -> list[Reason]:
    """Returns the hosts whose end marker is missing or does not fit the plan."""
    reasons = []
    per_host = int(evidence.run["ranks_per_host"])
    for host in evidence.run["hosts"]:
        name = str(host["name"])
        file = f"markers/{name}.json"
        marker = evidence.read_json(file)
        if marker is None:
            text = f"{name} left no end marker: the program did not come to its end there"
            reasons.append(reason("marker-missing", text, file, host=name))
            continue
        first = int(host["node_rank"]) * per_host
        wrong = _marker_problem(marker, name, evidence.world_size, range(first, first + per_host))
        if wrong:
            code = "world-size" if wrong.startswith("world size") else "marker-wrong"
            reasons.append(reason(code, f"the end marker of {name}: {wrong}", file, host=name))
    return reasons


def _marker_problem(marker: Any, host: str, world_size: int, ranks: Iterable[int]) -> str:
    if isinstance(marker, Unreadable):
        return marker.why
    if not isinstance(marker, dict):
        return "it holds no object"
    if marker.get("host") != host:
        return "it is of host {!r}".format(marker.get("host"))
    if marker.get("completed") is not True:
        return "it does not say that the program completed"
    if marker.get("world_size") != world_size:
        return "world size {!r} instead of {}".format(marker.get("world_size"), world_size)
    if marker.get("ranks") != list(ranks):
        return "ranks {!r} instead of {}".format(marker.get("ranks"), list(ranks))
    return ""


def check_ranks(evidence: Evidence) -> list[Reason]:
    """Returns which ranks left no record, or a wrong one."""
    reasons = []
    missing = []
    per_host = int(evidence.run["ranks_per_host"])
    hosts = {int(host["node_rank"]): str(host["name"]) for host in evidence.run["hosts"]}
    for rank in range(evidence.world_size):
        file = f"ranks/rank-{rank:04d}.json"
        record = evidence.read_json(file)
        if record is None:
            missing.append(rank)
            continue
        wrong = _rank_problem(record, rank, hosts.get(rank // per_host, ""))
        if wrong:
            reasons.append(reason("rank-wrong", f"the record of rank {rank}: {wrong}", file))
    if missing:
        reasons.insert(0, reason("rank-missing", f"no record of {ranks_text(missing)}", "ranks"))
    return reasons


def _rank_problem(record: Any, rank: int, host: str) -> str:
    if isinstance(record, Unreadable):
        return record.why
    if not isinstance(record, dict):
        return "it holds no object"
    if record.get("rank") != rank:
        return "it is of rank {!r}".format(record.get("rank"))
    if record.get("host", host) != host:
        return "it is of host {!r}, the plan has the rank on {}".format(record.get("host"), host)
    return ""


def ranks_text(ranks: Sequence[int]) -> str:
    """Returns ascending ranks as text, e.g. ``ranks 1, 4-7``."""
    parts = []
    start = previous = ranks[0]
    for rank in [*ranks[1:], -1]:
        if rank == previous + 1:
            previous = rank
            continue
        parts.append(str(start) if start == previous else f"{start}-{previous}")
        start = previous = rank
    return ("rank " if len(ranks) == 1 else "ranks ") + ", ".join(parts)
