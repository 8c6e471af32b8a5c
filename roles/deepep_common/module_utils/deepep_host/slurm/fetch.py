"""Brings the files of a job's hosts to the login host, where no shared file system has them there already."""

from __future__ import annotations

import base64
import io
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import read_json, safe_relative, write_json
from . import query
from .archive import pack
from .command import SlurmError, call
from .jobs import Place, release

JOB = "@job"
"""Stands for a host in the archive: what the job script itself said. No host can have this name."""

STEP_S = 300.0
"""How long the hosts may take to hand over their files."""


def fetch(place: Place, run: str, submitted: Mapping[str, Any], command: str = "pack") -> str | None:
    """Has the hosts of a job that still exists hand over a run's files; returns None, or what went wrong.

    The job's own hosts are asked through a step of it: nothing but Slurm connects to them.
    """
    job_id = str(submitted["job_id"])
    seen = query.queue([job_id], 30.0).get(job_id)
    if seen is None or not seen.nodes:
        return f"job {job_id} is over, and its hosts cannot be asked any more"
    nodes = query.host_names(seen.nodes)
    packed, problems = _step(place, job_id, nodes, run, submitted, command)
    if problems and len(nodes) > 1:
        # One host that does not answer must not keep the others' files.
        packed, problems = [], []
        for node in nodes:
            some, told = _step(place, job_id, [node], run, submitted, command)
            packed += some
            problems += told
    for archive in packed:
        try:
            unpack_into(archive, place.base, run)
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            problems.append(f"what a host handed over cannot be read: {error}")
    return "; ".join(problems) or None


def _step(
    place: Place, job_id: str, nodes: Sequence[str], run: str, submitted: Mapping[str, Any], command: str
) -> tuple[list[bytes], list[str]]:
    """Returns what each node handed over, through the standard output of one step, and what went wrong."""
    base = str(submitted["base"])
    python = str(
        ((read_json(place.own / "plan.json") or {}).get("slurm") or {}).get("host_python", "python3")
    )
    number = str(len(nodes))
    try:
        done = call([
            "srun", f"--jobid={job_id}", "--overlap", f"--nodes={number}", f"--ntasks={number}",
            "--ntasks-per-node=1", f"--nodelist={','.join(nodes)}", "--gres=none", "--mpi=none",
            "--immediate=30", "--label", python, "-I", f"{base}/program/slurm_task.py", command,
            f"--base={base}", f"--run={run}",
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


def pack_run(
    place: Place, run: str, job: str, part_bytes: int
) -> tuple[Path, list[dict[str, Any]], list[str]]:
    """Packs a run's files of all hosts in parts; returns their folder, the parts and the hosts.

    Names in the archive are ``HOST/...`` below the run's directory there; :data:`JOB` has the job's words.
    """
    gathered = place.job(run) / "gathered"
    shutil.rmtree(gathered, ignore_errors=True)
    gathered.mkdir(parents=True)
    hosts = []
    for folder in sorted(place.base.iterdir()) if place.base.is_dir() else ():
        source = folder.joinpath("runs", *run.split("/"))
        if folder.name != place.login and source.is_dir():
            shutil.copytree(source, gathered / folder.name, symlinks=True, ignore=_only_files)
            hosts.append(folder.name)
    if (place.job(job) / "job.txt").is_file():
        (gathered / JOB).mkdir(exist_ok=True)
        shutil.copyfile(place.job(job) / "job.txt", gathered / JOB / "job.txt")
    parts_dir = place.job(run) / "parts"
    parts = pack(gathered, parts_dir, part_bytes)
    shutil.rmtree(gathered, ignore_errors=True)
    return parts_dir, parts, hosts


def _only_files(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(folder) / name).is_symlink()]


def let_go(place: Place, run: str) -> None:
    """Lets the hosts of a job go, once: their files are here."""
    record = read_json(place.job(run) / "submitted.json")
    if record and not record.get("shared") and not record.get("released"):
        release(str(record["job_id"]))
        write_json(place.job(run) / "submitted.json", {**record, "released": True})
