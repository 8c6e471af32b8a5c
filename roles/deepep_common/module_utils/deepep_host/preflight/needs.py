"""What a run needs of its hosts, from the plan alone: it decides which checks are made, what they block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

V1_GROUP = 8
"""Ranks that DeepEP V1 counts as one node (NUM_MAX_NVL_PEERS, csrc/kernels/legacy/configs.cuh)."""

NEEDS = {
    "host": "every run",
    "peers": "runs on several hosts",
    "torch": "the bundled program without a container",
    "container": "runs in a container",
    "gpu": "every backend but gloo",
    "nvlink": "DeepEP with several ranks on a host",
    "mnnvl": "DeepEP on several hosts with allow_mnnvl",
    "rdma": "DeepEP on several hosts without allow_mnnvl, or low latency without NVLink",
    "ibgda": "what needs rdma and may run DeepEP V1",
    "network": "nccl on several hosts: it falls back to TCP",
}
"""Every need, and which runs have it."""


def needs_of(run: Mapping[str, Any]) -> frozenset[str]:
    """Returns the needs of one run of plan.json."""
    needs = {"host"}
    backend, config = str(run["backend"]), run.get("config") or {}
    several = len(run["hosts"]) > 1
    if several:
        needs.add("peers")
    if run["container_runtime"] != "none":
        needs.add("container")
    elif run["program"] == "bundled":
        needs.add("torch")
    if backend == "gloo":
        return frozenset(needs)
    needs.add("gpu")
    if not backend.startswith("deepep"):
        return frozenset(needs | ({"network"} if several else set()))
    low_latency = run["mode"] == "low_latency"
    if int(run["ranks_per_host"]) > 1:
        needs.add("nvlink")
    if several and config.get("allow_mnnvl"):
        needs.add("mnnvl")
    if needs_rdma(run):
        needs.add("rdma")
        # "deepep" is V1 or V2, whichever the image has; low latency is always V1.
        if low_latency or backend != "deepep_v2":
            needs.add("ibgda")
    return frozenset(needs)


def needs_rdma(run: Mapping[str, Any]) -> bool:
    """Whether a run cannot do without RDMA network adapters.

    DeepEP crosses hosts by RDMA unless all are one NVLink domain; low latency uses RDMA also within a host
    unless NVLink is allowed. V1's standard kernels reach ranks beyond their group of 8 by RDMA alone.
    """
    config = run.get("config") or {}
    if not str(run["backend"]).startswith("deepep"):
        return False
    if run["mode"] == "low_latency" and not config.get("allow_nvlink_for_low_latency"):
        return True
    ranks = len(run["hosts"]) * int(run["ranks_per_host"])
    if (run["backend"], run["mode"]) == ("deepep_v1", "standard") and ranks > V1_GROUP:
        return True
    return len(run["hosts"]) > 1 and not config.get("allow_mnnvl")


def of_host(runs: Iterable[Mapping[str, Any]], host: str) -> frozenset[str]:
    """Returns what the runs of a host need together."""
    found = [needs_of(run) for run in runs if any(member["name"] == host for member in run["hosts"])]
    return frozenset().union(*found) if found else frozenset({"host"})
