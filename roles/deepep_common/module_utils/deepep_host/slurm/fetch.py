"""Brings the files of a job's hosts to the login host, where no shared file system has them there already."""

from __future__ import annotations

import base64
import io
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from ..files import read_json, safe_relative, write_json
from ..pack import total_bytes
from ..packing import offer
from ..state import read_state, run_dir
from . import query
from .command import SlurmError, call
from .jobs import Place, final_facts, release
from .states import RUNS, phase_of

PATIENCE_S = 30.0
STEP_S = 300.0
"""How long the hosts may take to hand over their files."""

GRANT_S = 30
"""How long a job of its own that asks hosts may wait for them: they may be anybody's by now."""

AT_ONCE = 8
"""Hosts that are asked at the same time, where they have to be asked one by one."""

WORDS_BYTES = 256 * 1024


class Errand(NamedTuple):
    """What hosts do with a run: ``command`` of slurm_task.py; ``where``: srun's words for the job."""

    place: Place
    where: Sequence[str]
    run: str
    submitted: Mapping[str, Any]
    command: str


def fetch(
    place: Place,
    run: str,
    submitted: Mapping[str, Any],
    command: str = "pack",
    options: Sequence[str] | None = None,
) -> str | None:
    """Has the hosts of a job hand over a run's files; returns None, or what went wrong.

    A job that still exists is asked through a step of its own: nothing but Slurm connects to its hosts. Once
    it is over, a job of its own asks them, where there are ``options`` for that; what came is removed there.
    """
    job_id = str(submitted["job_id"])
    seen = query.queue([job_id], PATIENCE_S).get(job_id)
    if seen is not None and seen.nodes and phase_of(seen.state) == RUNS:
        held = [f"--jobid={job_id}", "--overlap"]
        _, problems = _ask(Errand(place, held, run, submitted, command), query.host_names(seen.nodes))
        return "; ".join(problems) or None
    if options is None:
        return f"job {job_id} is over, and its hosts cannot be asked any more"
    nodes = query.host_names(str(final_facts([job_id], {})[job_id].get("nodes") or ""))
    if not nodes:
        return f"job {job_id} is over, and its hosts are not known any more"
    away = query.away(nodes)
    problems = [f"{node} is {state}" for node, state in away.items()]
    there = [node for node in nodes if node not in away]
    fresh = ["--job-name=deepep-fetch", f"--immediate={GRANT_S}", "--time=5", *options]
    errand = Errand(place, fresh, run, submitted, command)
    gave, told = _ask(errand, there) if there else ([], [])
    problems += told
    if gave:
        _, told = _ask(errand._replace(command="remove"), gave)
        problems += told
    return "; ".join(problems) or None


def _ask(errand: Errand, nodes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Has nodes do an errand and takes what they hand over; returns which did, and problems."""
    answered = list(nodes)
    packed, problems = _step(errand, nodes)
    if problems and len(nodes) > 1:
        # One host that does not answer must not keep the others' files.
        with ThreadPoolExecutor(AT_ONCE) as pool:
            alone = list(pool.map(lambda node: _step(errand, [node]), nodes))
        packed = [one for some, _ in alone for one in some]
        problems = [one for _, told in alone for one in told]
        answered = [node for node, (_, told) in zip(nodes, alone) if not told]
    elif problems:
        answered = []
    for archive in packed if errand.command != "remove" else ():
        try:
            unpack_into(archive, errand.place.base, errand.run)
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            problems.append(f"what a host handed over cannot be read: {error}")
            answered = []
    return answered, problems


def _step(errand: Errand, nodes: Sequence[str]) -> tuple[list[bytes], list[str]]:
    """Returns what each node handed over, through the standard output of one step, and what went wrong."""
    base = str(errand.submitted["base"])
    plan = read_json(errand.place.own / "plan.json") or {}
    python = str((plan.get("slurm") or {}).get("host_python", "python3"))
    number = str(len(nodes))
    try:
        done = call([
            "srun", *errand.where, f"--nodes={number}", f"--ntasks={number}", "--ntasks-per-node=1",
            f"--nodelist={','.join(nodes)}", "--gres=none", "--mpi=none", "--label",
            python, "-I", f"{base}/program/slurm_task.py", errand.command, f"--base={base}",
            f"--run={errand.run}",
        ], timeout_s=STEP_S)  # fmt: skip
    except SlurmError as error:
        return [], [str(error)]
    if done.code != 0:
        return [], [f"srun on {','.join(nodes)}: {done.message}"]
    streams: dict[str, list[str]] = {}
    for line in done.out.splitlines():
        task, _, text = line.partition(": ")
        streams.setdefault(task.strip(), []).append(text)
    try:
        return [base64.b64decode("".join(lines)) for lines in streams.values()], []
    except ValueError as error:
        return [], [f"what {','.join(nodes)} handed over is damaged: {error}"]


def unpack_into(packed: bytes, base: Path, run: str) -> None:
    """Unpacks what one host handed over. Only plain files of that run come out.

    Raises ValueError for anything else.
    """
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        for member in archive:
            name = safe_relative(member.name)
            source = archive.extractfile(member) if member.isreg() else None
            if source is None or not name.split("/", 1)[1].startswith(f"runs/{run}/"):
                raise ValueError(f"{member.name!r} does not belong there")
            path = base / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as target:
                shutil.copyfileobj(source, target)


def offers(place: Place, run: str, limit_bytes: int, inline_bytes: int) -> dict[str, dict[str, Any]]:
    """Returns what there is to fetch of a run, host by host (``packing.offer``); small files come along.

    Their directories lie here as they do on a host that is reached by SSH.
    """
    found: dict[str, dict[str, Any]] = {}
    for folder in sorted(place.base.iterdir()) if place.base.is_dir() else ():
        if folder.name == place.login or not run_dir(folder, run).is_dir():
            continue
        # Whoever holds the run is on another host: its state is what it wrote last.
        offered = offer(folder, run, limit_bytes, inline_bytes, read_state)
        if offered["state"] is not None:
            inline_bytes -= total_bytes(offered["index"]) if "part" in offered else 0
            found[folder.name] = offered
    return found


def words(place: Place, job: str) -> str | None:
    """Returns the end of what the job script itself said, None where that is not here."""
    try:
        with (place.job(job) / "job.txt").open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - WORDS_BYTES))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return None


def let_go(place: Place, run: str) -> None:
    """Lets the hosts of a job go, once: their files are here."""
    record = read_json(place.job(run) / "submitted.json")
    if record and not record.get("shared") and not record.get("released"):
        release(str(record["job_id"]))
        write_json(place.job(run) / "submitted.json", {**record, "released": True})
