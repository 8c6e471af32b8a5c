"""How experts, ranks and hosts may be combined."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics.model import KeyPath
from compiler.rules.kernels.model import Problem, Run
from compiler.rules.kernels.neighbours import (
    MOST_HOSTS,
    divisors_text,
    fitting_hosts,
    hosts_text,
    multiples,
    nearest,
    one_of,
)

EXPERTS: KeyPath = ("cmd_args", "num_experts")
HOSTS: KeyPath = ("num_nodes",)


def experts_divisible(run: Run) -> Iterator[Problem]:
    """num_experts % ranks == 0."""
    experts = run.arguments.num_experts
    if experts % run.ranks:
        near = multiples(experts, run.ranks, least=run.arguments.num_topk)
        yield Problem(
            EXPERTS,
            f"{experts} experts cannot be split over {run.shape}",
            f"use {one_of(near)} experts{divisors_text(experts, run.hosts, run.ranks_per_host)}",
        )


def in_groups(run: Run) -> Iterator[Problem]:
    """Ranks < 8 or ranks % 8 == 0."""
    group: int = run.limit("ranks-not-in-groups")
    if run.ranks > group and run.ranks % group:
        legal = (n for n in range(1, _most(run)) if n * run.ranks_per_host % group == 0)
        yield Problem(
            HOSTS,
            f"{run.shape} do not make whole groups of {group}",
            _run_on(run, fitting_hosts(run.hosts, legal), f"use {one_of(multiples(run.ranks, group))} ranks"),
        )


def intranode_ranks(run: Run) -> Iterator[Problem]:
    """The intranode kernels' numbers of ranks."""
    legal: list[int] = run.limit("intranode-ranks")
    if run.ranks not in legal:
        yield Problem(
            HOSTS,
            f"{run.shape}: V1 standard has no kernel for {run.ranks} rank{'' if run.ranks == 1 else 's'}",
            f"use {one_of(nearest(run.ranks, legal))} ranks on one host (deepep_gpus_per_node)",
        )


def internode_groups(run: Run) -> Iterator[Problem]:
    """The internode kernels' numbers of groups."""
    legal: list[int] = run.limit("internode-groups")
    if run.ranks % 8 == 0 and run.groups not in legal:
        hosts = [8 * groups // run.ranks_per_host for groups in legal if 8 * groups % run.ranks_per_host == 0]
        yield Problem(
            HOSTS,
            f"{run.shape} make {run.groups} groups of 8, for which V1 standard has no kernel",
            _run_on(run, fitting_hosts(run.hosts, hosts), f"use {one_of(nearest(run.groups, legal))} groups"),
        )


def group_on_one_host(run: Run) -> Iterator[Problem]:
    """The ranks of a group share a host, or NVLink between hosts."""
    group = min(run.limit("group-across-hosts"), run.ranks)
    if run.hosts == 1 or run.ranks_per_host % group == 0:
        return
    if run.arguments.allow_mnnvl and run.release.has_v2:
        return
    yield Problem(
        HOSTS,
        f"{run.shape}: a group of {group} ranks reaches over several hosts",
        "use hosts with 8 GPUs each, or one host with 2, 4 or 8"
        + (", or allow_mnnvl = true where NVLink joins the hosts" if run.release.has_v2 else ""),
    )


def mnnvl_without_fabric(run: Run) -> Iterator[Problem]:
    """allow_mnnvl on hosts of 8 GPUs."""
    if run.arguments.allow_mnnvl and run.ranks_per_host >= run.limit("mnnvl-without-fabric"):
        yield Problem(
            ("cmd_args", "allow_mnnvl"),
            f"allow_mnnvl = true with {run.ranks_per_host} GPUs per host: no NVLink joins such hosts",
            "remove allow_mnnvl",
        )


def _most(run: Run) -> int:
    return min(run.hosts + 8, MOST_HOSTS) + 1


def _run_on(run: Run, hosts: list[int], otherwise: str) -> str:
    return f"run on {hosts_text(hosts)}" if hosts else otherwise
