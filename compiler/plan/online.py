"""A plan against the cluster as it is now: partitions, time limits, nodes and GPUs (``lint --online``)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic
from compiler.inventory.model import Inventory, Settings
from compiler.inventory.sinfo import Cluster, Partition
from compiler.plan.model import Plan, Run
from compiler.plan.show import duration

_SHOWN = 4


def check(plan: Plan, inventory: Inventory, cluster: Cluster) -> Iterator[Diagnostic]:
    """Yields what Slurm would refuse, or never start; equal findings of many runs are told once."""
    told: set[str] = set()
    for run in plan.runs:
        settings = inventory.hosts[run.hosts[0]].settings
        for found in _of_run(plan, run, settings, cluster):
            if found.message not in told:
                told.add(found.message)
                yield found


def _of_run(plan: Plan, run: Run, settings: Settings, cluster: Cluster) -> Iterator[Diagnostic]:
    wanted = settings.slurm.partition or cluster.default
    partition = cluster.partitions.get(wanted or "")
    if partition is None:
        yield finding(
            "slurm-partition",
            f"the cluster has no partition {wanted!r} (deepep_slurm_partition)"
            if wanted
            else "the cluster has no default partition, and deepep_slurm_partition is not set",
            None,
            fix=f"its partitions are {', '.join(sorted(cluster.partitions))}",
        )
        return
    if not partition.available:
        yield finding("slurm-partition", f"the partition {partition.name} is not up", None,
                      fix="choose another deepep_slurm_partition, or wait")  # fmt: skip
    yield from _time(plan, run, settings, partition)
    if run.slurm and run.slurm.any_hosts:
        yield from _number(run, settings, partition)
    else:
        yield from _nodes(plan, run, settings, partition)


def _time(plan: Plan, run: Run, settings: Settings, partition: Partition) -> Iterator[Diagnostic]:
    runs = plan.runs if plan.slurm and plan.slurm.one_job else (run,)
    limit = sum(one.time_limit_s for one in runs) + settings.slurm.margin_s
    limit = 60 * math.ceil(limit / 60)
    if partition.limit_s is not None and limit > partition.limit_s:
        yield finding(
            "slurm-time-limit",
            f"{run.id} asks for {duration(limit)} with deepep_slurm_margin_s = {settings.slurm.margin_s}; "
            f"the partition {partition.name} allows {duration(partition.limit_s)}",
            None,
        )


def _number(run: Run, settings: Settings, partition: Partition) -> Iterator[Diagnostic]:
    exclude = run.slurm.exclude if run.slurm else ()
    usable = [node for node in partition.gpus if node not in exclude and _enough(settings, partition, node)]
    if len(usable) < len(run.hosts):
        gpus = "" if settings.slurm.gpu_request == "none" else f" with {settings.gpus_per_node} GPUs"
        yield finding(
            "slurm-nodes",
            f"{run.id} asks for {len(run.hosts)} hosts{gpus}; "
            f"the partition {partition.name} has {len(usable)}",
            None,
        )


def _nodes(plan: Plan, run: Run, settings: Settings, partition: Partition) -> Iterator[Diagnostic]:
    nodes = {name: plan.slurm.nodes[name].node for name in run.hosts} if plan.slurm else {}
    missing = [node for node in nodes.values() if node not in partition.gpus]
    if missing:
        yield finding(
            "slurm-nodes",
            f"the partition {partition.name} has no node {_shown(missing)}",
            None,
            fix="set deepep_slurm_node where a host has another name in Slurm, or another partition",
        )
    few = [
        node for node in nodes.values() if node in partition.gpus and not _enough(settings, partition, node)
    ]
    if few:
        yield finding(
            "slurm-gpus",
            f"{_shown(few)}: {partition.gpus[few[0]]} GPUs in Slurm, deepep_gpus_per_node asks for "
            f"{settings.gpus_per_node}",
            None,
        )
    down = [node for node in nodes.values() if partition.is_down(node)]
    if down:
        yield finding(
            "slurm-node-down",
            f"{_shown(down)}: {partition.states[down[0]]} in the partition {partition.name}",
            None,
        )


def _enough(settings: Settings, partition: Partition, node: str) -> bool:
    return settings.slurm.gpu_request == "none" or partition.gpus[node] >= settings.gpus_per_node


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
