"""Scenarios and inventories for tests, without files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from compiler.diagnostics.model import Place
from compiler.inventory.listing import read_listing
from compiler.inventory.model import Inventory
from compiler.scenario.model import (
    Arguments,
    Case,
    Dependency,
    DependencyType,
    Entry,
    NodeSpec,
    Origin,
    Scenario,
)

FILE = Path("scenario.toml")

ARGUMENTS = Arguments(
    docker_image_url=None,
    mode="standard",
    tokens=64,
    num_experts=16,
    num_topk=4,
    hidden_size=512,
    data_type="bfloat16",
    allow_nvlink_for_low_latency=False,
    allow_mnnvl=False,
    round_scale=False,
    use_ue8m0=False,
    num_warmups=20,
    num_iterations=50,
    shuffle_columns=False,
    use_kineto_profiler=False,
    num_sms=None,
    num_qps_per_rank=None,
    config_file_path="/tmp/config.yaml",  # noqa: S108
    results_dir="/workspace/dp-benchmark/results",
    backend=None,
    seed=0,
    routing="uniform",
    num_groups=None,
    num_topk_groups=None,
    imbalance=None,
    routing_trace=None,
    use_logfmt=False,
    enable_tuning=False,
    dispatch_chunks=None,
    combine_chunks=None,
)

LOCAL = {
    "ansible_connection": "local",
    "deepep_container_runtime": "none",
    "deepep_backend": "gloo",
    "deepep_gpus_per_node": 2,
    "deepep_python": "/opt/torch/bin/python",
}
"""Variables of a host that runs the stand-in."""


def inventory(
    hosts: Sequence[str] = ("n1", "n2", "n3", "n4"),
    groups: Mapping[str, Sequence[str]] | None = None,
    **variables: object,
) -> Inventory:
    """Returns an inventory whose hosts all have :data:`LOCAL` and ``variables``. None removes a variable."""
    own = {name: value for name, value in {**LOCAL, **variables}.items() if value is not None}
    return of_hostvars(dict.fromkeys(hosts, own), groups)


def of_hostvars(
    hostvars: Mapping[str, Mapping[str, object]], groups: Mapping[str, Sequence[str]] | None = None
) -> Inventory:
    """Returns an inventory of these hosts with these variables."""
    groups = groups or {"GAIA": list(hostvars), "standard_nodes": list(hostvars)}
    listing = {
        "_meta": {"hostvars": hostvars},
        "all": {"children": ["ungrouped", *groups]},
        "ungrouped": {"hosts": list(hostvars)},
        **{name: {"hosts": list(members)} for name, members in groups.items()},
    }
    found, findings = read_listing(listing, "inv", [Path("/inv")])
    assert found is not None, findings
    return found


def case(
    step: int | None = None,
    num_nodes: int | None = 2,
    env: Mapping[str, str] | None = None,
    **arguments: object,
) -> Case:
    """Returns one point of a sweep."""
    return Case(step, {}, replace(ARGUMENTS, **arguments), env or {}, num_nodes)  # type: ignore[arg-type]


def entry(
    name: str,
    *cases: Case,
    nodes: Sequence[str] = (),
    exclude: Sequence[str] = (),
    after: Sequence[tuple[str, str]] = (),
    **changes: object,
) -> Entry:
    """Returns an entry; ``after`` are (type, id) of dependencies."""
    place = Place(FILE, ("Tests", name))
    made = Entry(
        id=name,
        index=0,
        test_name=f"test of {name}",
        description="a test",
        template="DeepEPBenchmark",
        cases=cases or (case(num_nodes=None if nodes else 2),),
        extra_cmd_args={},
        extra_container_mounts=(),
        nodes=tuple(NodeSpec(text, Place(FILE, ("Tests", name, "nodes"))) for text in nodes),
        exclude_nodes=tuple(
            NodeSpec(text, Place(FILE, ("Tests", name, "exclude_nodes"))) for text in exclude
        ),
        iterations=1,
        time_limit_s=60,
        dependencies=tuple(Dependency(DependencyType(kind), other, place) for kind, other in after),
        place=place,
        test_file=FILE,
        origin=Origin(place, ()),
        definition={"name": f"test of {name}", "description": "a test"},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def scenario(*entries: Entry, name: str = "sample") -> Scenario:
    """Returns a scenario."""
    return Scenario(name, FILE, entries)
