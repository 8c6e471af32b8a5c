"""What the launcher ``slurm`` adds to a plan: who submits, and who chooses among the compute hosts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic
from compiler.inventory.model import Host, Inventory, Settings
from compiler.plan.model import Run, SlurmNode, SlurmPlan, SlurmRun
from compiler.resources import host_code
from compiler.scenario.model import DependencyType, Entry

host_code()
from deepep_host import reference  # noqa: E402

_OF_SCENARIO = (
    "login", "shared_dir", "hosts", "one_job", "parallel", "margin_s", "poll_s", "queue_limit_s", "hold_s",
    "host_python",
)  # fmt: skip
"""Settings that all runs of a scenario must share."""


def compute_hosts(inventory: Inventory) -> Inventory:
    """Returns the inventory without its login hosts: nothing is measured on the host that submits."""
    logins = {
        host.settings.slurm.login for host in inventory.hosts.values() if host.settings.launcher == "slurm"
    }
    if not logins & inventory.hosts.keys():
        return inventory
    return replace(
        inventory,
        hosts={name: host for name, host in inventory.hosts.items() if name not in logins},
        groups={
            group: tuple(name for name in members if name not in logins)
            for group, members in inventory.groups.items()
        },
    )


def node_of(host: Host) -> str:
    """Returns the host's name in Slurm."""
    return host.settings.slurm_node or host.name


def image_file(image: str, settings: Settings) -> str | None:
    """Returns the squashfs file that hosts start: the image itself, or where an import job puts it.

    None where there is no place that all hosts see.
    """
    parsed = reference.parse(image)
    if parsed.squashfs:
        return parsed.path
    folder = settings.image_cache_dir or (settings.slurm.shared_dir and f"{settings.slurm.shared_dir}/images")
    if folder is None or parsed.file or parsed.local_store:
        return None
    name = "_".join(filter(None, [parsed.host, parsed.repository, parsed.tag, (parsed.digest or "")[-16:]]))
    return f"{folder}/{re.sub('[^A-Za-z0-9._-]', '_', name)}.sqsh"


def of_run(
    inventory: Inventory, entry: Entry, settings: Settings, image: str | None = None
) -> SlurmRun | None:
    """Returns what the run's job needs, None over SSH."""
    if settings.launcher != "slurm":
        return None
    free = settings.slurm.hosts != "plan" and not entry.nodes
    excluded = {name for spec in entry.exclude_nodes for name in _named(inventory, spec.text)}
    exclude = tuple(node_of(host) for name, host in inventory.hosts.items() if name in excluded)
    contained = settings.container_runtime == "enroot" and image is not None
    return SlurmRun(
        free,
        exclude if free else (),
        entry.extra_srun_args,
        image_file(image, settings) if contained and image else None,
        contained and settings.slurm.container == "pyxis",
        tuple(
            f"--{option}={value}"
            for option in ("partition", "account", "reservation", "qos")
            if (value := getattr(settings.slurm, option)) is not None
        ),
    )


def _named(inventory: Inventory, text: str) -> Iterator[str]:
    # The specs were checked when the hosts were chosen.
    from compiler.inventory.hostlist import expand, split

    for part in split(text):
        yield from [part] if part in inventory.hosts else expand(part)


def of_plan(inventory: Inventory, runs: Iterable[Run]) -> SlurmPlan | None:
    """Returns what all jobs have in common, None over SSH."""
    used = {name for run in runs for name in run.hosts}
    if not used:
        return None
    first = inventory.hosts[next(name for name in inventory.hosts if name in used)].settings
    if first.launcher != "slurm":
        return None
    free = any(run.slurm and run.slurm.any_hosts for run in runs)
    nodes = {
        name: SlurmNode(node_of(host), host.settings.python)
        for name, host in inventory.hosts.items()
        if name in used or (free and host.settings.launcher == "slurm")
    }
    slurm = first.slurm
    return SlurmPlan(
        login=slurm.login,
        nodes=nodes,
        shared_dir=slurm.shared_dir,
        work_dir=first.work_dir,
        host_python=slurm.host_python,
        same_hosts=slurm.hosts == "same",
        one_job=slurm.one_job,
        parallel=slurm.parallel,
        poll_s=slurm.poll_s,
        queue_limit_s=slurm.queue_limit_s,
    )


def check(inventory: Inventory, given: Iterable[Run], entries: Iterable[Entry]) -> Iterator[Diagnostic]:
    """Yields what keeps these runs from being jobs of one scenario."""
    runs = list(given)
    used = [name for name in inventory.hosts if any(name in run.hosts for run in runs)]
    hosts = [inventory.hosts[name] for name in used if inventory.hosts[name].settings.launcher == "slurm"]
    if not hosts:
        for entry in entries:
            if entry.extra_srun_args:
                yield finding(
                    "srun-args-unused",
                    f"extra_srun_args of {entry.id} have no effect: deepep_launcher is ssh",
                    entry.origin.place("extra_srun_args"),
                )
        return
    # A system TOML has its shared directory where CloudAI is started.
    for run in () if inventory.of_system else runs:
        if run.slurm and run.container_runtime == "enroot" and run.image and run.slurm.image_file is None:
            yield finding(
                "missing-inventory-setting",
                f"{run.id}: there is no place for the file of {run.image} that all hosts see",
                None,
                why="Jobs start a squashfs file that was made before: no credential waits in a queue.",
                fix="set deepep_slurm_shared_dir, or deepep_image_cache_dir to a directory that hosts share",
            )
    yield from _common(hosts)
    yield from _nodes(hosts)
    addressed = [host.name for host in hosts if host.settings.master_address]
    if addressed:
        yield finding(
            "settings-contradict",
            f"host {addressed[0]}: deepep_launcher is slurm, and deepep_master_address is set",
            None,
            why="Which host of a job is its first one is known only once it runs.",
            fix="set deepep_master_interface",
        )
    runtimes = [host.name for host in hosts if host.settings.container_runtime in ("docker", "podman")]
    if runtimes:
        yield finding(
            "settings-contradict",
            f"host {runtimes[0]}: deepep_launcher is slurm, and deepep_container_runtime is "
            f"{inventory.hosts[runtimes[0]].settings.container_runtime}",
            None,
            fix="choose enroot or none: Slurm's jobs start images with pyxis or enroot",
        )
    if hosts[0].settings.slurm.one_job:
        overlapping = (DependencyType.START_POST_INIT, DependencyType.END_POST_COMP)
        for entry in entries:
            for dependency in entry.dependencies:
                if dependency.type in overlapping:
                    yield finding(
                        "overlap-impossible",
                        f"{entry.id} overlaps {dependency.id}; in one job runs follow each other",
                        dependency.place,
                        fix="set deepep_slurm_one_job: false",
                    )


def _common(hosts: list[Host]) -> Iterator[Diagnostic]:
    first = hosts[0]
    names: tuple[str, ...] = _OF_SCENARIO
    if first.settings.slurm.one_job:
        names = tuple(type(first.settings.slurm).__dataclass_fields__)
    for name in names:
        value = getattr(first.settings.slurm, name)
        for other in hosts[1:]:
            differing = getattr(other.settings.slurm, name)
            if differing != value:
                yield finding(
                    "settings-disagree",
                    f"deepep_slurm_{name} is {value!r} on {first.name} and {differing!r} on {other.name}",
                    None,
                    why="All jobs of a scenario are submitted and followed together.",
                )
                break


def _nodes(hosts: list[Host]) -> Iterator[Diagnostic]:
    known: dict[str, str] = {}
    for host in hosts:
        other = known.setdefault(node_of(host), host.name)
        if other != host.name:
            yield finding(
                "settings-contradict",
                f"hosts {other} and {host.name} are both the Slurm node {node_of(host)}",
                None,
                fix="give each host its own deepep_slurm_node",
            )
