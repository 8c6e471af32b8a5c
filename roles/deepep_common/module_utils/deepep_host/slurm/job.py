"""Which host of a job is which: Slurm's node names, the inventory's names and the ranks of the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..program import host_slice

ALL = "all"
"""Names the one job of all runs, where they share an allocation."""

SCRIPT = "cloudai_sbatch_script.sh"
"""What a job script is called, in bundles and results, as CloudAI has it."""


class Member(NamedTuple):
    """One host of a run: its inventory name, its name in Slurm, its rank among the hosts."""

    name: str
    node: str
    node_rank: int


class NotInPlan(Exception):
    """The allocation is not what the plan needs; the text says why."""


def nodes_of(plan: Mapping[str, Any]) -> dict[str, str]:
    """Returns the Slurm node name of every inventory host of the plan."""
    return {name: str(facts["node"]) for name, facts in plan["slurm"]["nodes"].items()}


def members(plan: Mapping[str, Any], run: Mapping[str, Any], allocated: Sequence[str]) -> list[Member]:
    """Returns the hosts of a run in the order of their ranks.

    Hosts that the plan names keep its ranks. Where the plan leaves the choice to Slurm, they are the
    allocated nodes in Slurm's order; one that the inventory lacks goes by its Slurm name. Raises NotInPlan.
    """
    nodes = nodes_of(plan)
    if not run.get("slurm", {}).get("any_hosts"):
        named = [Member(host["name"], nodes[host["name"]], int(host["node_rank"])) for host in run["hosts"]]
        missing = [member.node for member in named if member.node not in allocated]
        if missing:
            raise NotInPlan(f"the allocation {','.join(allocated)} lacks {', '.join(missing)} of the plan")
        return sorted(named, key=lambda member: member.node_rank)
    if len(allocated) < len(run["hosts"]):
        raise NotInPlan(f"{len(allocated)} hosts were allocated, {len(run['hosts'])} are planned")
    names = {node: name for name, node in nodes.items()}
    chosen = allocated[: len(run["hosts"])]
    return [Member(names.get(node, node), node, rank) for rank, node in enumerate(chosen)]


def with_members(run: Mapping[str, Any], hosts: Sequence[Member]) -> dict[str, Any]:
    """Returns the run with the hosts that it really has."""
    return {**run, "hosts": [{"name": host.name, "node_rank": host.node_rank} for host in hosts]}


def slice_of(
    plan: Mapping[str, Any],
    run: Mapping[str, Any],
    hosts: Sequence[Member],
    host: str,
    session: str,
    stamp: str,
) -> dict[str, Any]:
    """Returns what one host has to know of its run, as a host that is reached by SSH gets it."""
    return {
        **host_slice({**plan, "runs": [with_members(run, hosts)]}, host),
        "run_id": session,
        "stamp": stamp,
    }


def only(plan: Mapping[str, Any], run: str) -> dict[str, Any]:
    """Returns the part of the plan that one job needs; ``all`` is the job of all runs."""
    if run == ALL:
        return dict(plan)
    return {**plan, "runs": [one for one in plan["runs"] if one["id"] == run], "steps": []}
