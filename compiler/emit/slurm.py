"""Plan + Inventory -> the job scripts of a bundle: ``cloudai_sbatch_script.sh``, one per run or one for all.

Words that come from a TOML or the inventory are quoted each: a shell never reads them as anything else.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment

from compiler.inventory.model import Inventory, Settings
from compiler.plan.model import Plan, Run, SlurmNode
from compiler.plan.show import duration

NAME = "cloudai_sbatch_script.sh"
FOLDER = "jobs"
SIGNAL_LEAD_S = 60
"""How long before the job's limit its script is told (``--signal``)."""


@dataclass(frozen=True, slots=True)
class Call:
    """One run in a script: its hosts, the words of its srun, what it needs of runs before it."""

    run: str
    nodes: str
    first: str
    words: tuple[str, ...]
    python: str
    needs: str = ""
    needed: str = ""


def script_path(run: str) -> str:
    """Returns where a run's script is in the bundle."""
    return f"{FOLDER}/{run}/{NAME}"


def job_of(plan: Plan, run: Run) -> str:
    """Returns where the script that runs ``run`` is in the bundle."""
    return f"{FOLDER}/{NAME}" if plan.slurm and plan.slurm.one_job else script_path(run.id)


def jobs(plan: Plan) -> Mapping[str, tuple[Run, ...]]:
    """Returns the runs of each job script by its path in the bundle; none over SSH."""
    if plan.slurm is None:
        return {}
    if plan.slurm.one_job:
        return {f"{FOLDER}/{NAME}": plan.runs}
    return {script_path(run.id): (run,) for run in plan.runs}


def scripts(plan: Plan, inventory: Inventory, environment: Environment) -> Iterator[tuple[str, str]]:
    """Yields path in the bundle and text of each job script."""
    if plan.slurm is None:
        return
    template = environment.get_template(f"{NAME}.j2")
    for path, runs in jobs(plan).items():
        settings = inventory.hosts[runs[0].hosts[0]].settings
        title = (
            f"{runs[0].id} of {plan.scenario}"
            if len(runs) == 1
            else f"All {len(runs)} runs of {plan.scenario}"
        )
        yield (
            path,
            template.render(
                title=title,
                path=path,
                options=list(_options(plan, plan.slurm.nodes, runs, settings)),
                host_python=shlex.quote(settings.slurm.host_python),
                hold_s=settings.slurm.hold_s,
                calls=list(_calls(plan.slurm.nodes, runs, settings)),
            ),
        )


def _options(
    plan: Plan, nodes: Mapping[str, SlurmNode], runs: Sequence[Run], settings: Settings
) -> Iterator[str]:
    """Yields sbatch's options, in the order of CloudAI's own scripts."""
    slurm = settings.slurm
    name = runs[0].id.replace("/", ".") if len(runs) == 1 else "all"
    yield f"--job-name={plan.scenario}.{name}"
    for option in ("partition", "account", "reservation", "qos", "distribution"):
        value = getattr(slurm, option)
        if value is not None:
            yield f"--{option}={value}"
    words = list(slurm.srun_args) + [word for run in runs if run.slurm for word in run.slurm.srun_args]
    if slurm.reservation is None and (reserved := reservation(words)):
        yield f"--reservation={reserved}"
    hosts = {nodes[name].node: None for run in runs for name in run.hosts}
    free = [run for run in runs if run.slurm and run.slurm.any_hosts]
    if len(free) == len(runs):
        yield f"--nodes={max(len(run.hosts) for run in runs)}"
        excluded = sorted({node for run in runs if run.slurm for node in run.slurm.exclude})
        if excluded:
            yield f"--exclude={','.join(excluded)}"
    else:
        yield f"--nodes={len(hosts)}"
        yield f"--nodelist={','.join(hosts)}"
    yield "--ntasks-per-node=1"
    if slurm.gpu_request == "gres":
        yield f"--gres=gpu:{settings.gpus_per_node}"
    elif slurm.gpu_request == "gpus_per_node":
        yield f"--gpus-per-node={settings.gpus_per_node}"
    limit = sum(run.time_limit_s for run in runs) + slurm.margin_s
    yield f"--time={duration(60 * math.ceil(limit / 60))}"
    yield f"--signal=B:TERM@{SIGNAL_LEAD_S}"
    if slurm.exclusive:
        yield "--exclusive"
    yield "--no-requeue"
    yield from slurm.sbatch_args


def reservation(words: Sequence[str]) -> str | None:
    """Returns the reservation that srun's words ask for: the job itself must be in it."""
    for index, word in enumerate(words):
        if word.startswith("--reservation="):
            return word.partition("=")[2]
        if word == "--reservation" and index + 1 < len(words):
            return words[index + 1]
    return None


def _calls(known: Mapping[str, SlurmNode], runs: Sequence[Run], settings: Settings) -> Iterator[Call]:
    needed = {after.run for run in runs for after in run.after} if len(runs) > 1 else set()
    names = {run.id: f"code_{number}" for number, run in enumerate(runs, 1)}
    for run in runs:
        if run.slurm and run.slurm.any_hosts:
            nodes = f'"$(cut -d, -f-{len(run.hosts)} <<< "$allocated")"'
            first = '"${allocated%%,*}"'
        else:
            hosts = [known[name].node for name in run.hosts]
            nodes, first = shlex.quote(",".join(hosts)), shlex.quote(hosts[0])
        needs = [f'[ "${{{names[after.run]}:-1}}" = 0 ]' for after in run.after if after.run in names]
        yield Call(
            run.id,
            nodes,
            first,
            (*(shlex.quote(word) for word in _words(run, settings)), *_container(run, settings)),
            "python3" if run.slurm and run.slurm.pyxis else '"$python"',
            needs=" && ".join(needs) if len(runs) > 1 else "",
            needed=names[run.id] if run.id in needed else "",
        )


def _container(run: Run, settings: Settings) -> Iterator[str]:
    """Yields pyxis' options, quoted for the script. The hosts' directories are mounted at their own paths."""
    if run.slurm is None or not run.slurm.pyxis:
        return
    yield shlex.quote(f"--container-image={run.slurm.image_file}")
    # A mount with variables is the program's own; it is made inside (deepep_host/slurm/inside.py).
    mounts = [mount for mount in run.mounts if isinstance(mount, str)]
    own = '"--container-mounts=$base:$base,$program:$program,$(dirname "$plan"):$(dirname "$plan")'
    yield own + '"' + (shlex.quote("," + ",".join(mounts)) if mounts else "")
    # pyxis lets the image's own variables win, but for those that are named.
    yield f"--container-env={','.join(run.env)}"
    yield "--container-writable"
    words = (*settings.slurm.srun_args, *run.slurm.srun_args)
    if "--container-mount-home" not in words:
        yield "--no-container-mount-home"


def _words(run: Run, settings: Settings) -> Iterator[str]:
    yield f"--mpi={settings.slurm.mpi}"
    yield from settings.slurm.srun_args
    if run.slurm:
        yield from run.slurm.srun_args
