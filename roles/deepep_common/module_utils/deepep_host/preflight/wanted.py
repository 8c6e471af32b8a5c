"""What the plan wants of one host, as it travels there: the controller's side of :class:`.machine.Wanted`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .needs import needs_of, of_host

READ = (
    "NCCL_IB_GID_INDEX", "NCCL_IB_HCA", "NVSHMEM_HCA_LIST", "NVSHMEM_IB_GID_INDEX",
    "NVSHMEM_REMOTE_TRANSPORT",
)  # fmt: skip
"""Variables of a test that a check looks at; no other leaves the controller for it."""

INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "NVSHMEM_BOOTSTRAP_UID_SOCK_IFNAME")


def of_plan(plan: Mapping[str, Any], host: str, python: str) -> dict[str, Any]:
    """Returns what the runs of a plan want of a host together."""
    runs = [run for run in plan["runs"] if any(member["name"] == host for member in run["hosts"])]
    needs = of_host(runs, host)
    return {
        "needs": sorted(needs),
        "gpus": max((int(run["ranks_per_host"]) for run in runs if "gpu" in needs_of(run)), default=0),
        "python": python if "torch" in needs else "",
        "runtimes": _once(run["container_runtime"] for run in runs if run["container_runtime"] != "none"),
        "interfaces": _once(_interfaces(runs)),
        "jit_caches": _once(run["env"].get("EP_JIT_CACHE_DIR") or "" for run in runs),
        "environment": {name: run["env"][name] for run in runs for name in READ if run["env"].get(name)},
    }


def of_inventory(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what runs would want, where there is no plan yet (``doctor``).

    ``settings``: python, runtime, backend, gpus_per_node, hosts (how many there are), master_interface,
    environment; strings as an inventory may give them.
    """
    run = {
        "id": "doctor", "mode": "standard", "config": {},
        "backend": settings.get("backend") or "deepep", "program": settings.get("program") or "bundled",
        "container_runtime": settings.get("runtime") or "docker",
        "ranks_per_host": int(settings.get("gpus_per_node") or 8),
        "env": dict(settings.get("environment") or {}),
        "master_interface": settings.get("master_interface") or None,
        "hosts": [{"name": "this"}, *([{"name": "another"}] if int(settings.get("hosts") or 1) > 1 else [])],
    }  # fmt: skip
    return of_plan({"runs": [run]}, "this", str(settings.get("python") or ""))


def _interfaces(runs: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    for run in runs:
        if run.get("master_interface"):
            yield f"={run['master_interface']}"
        for name in INTERFACES:
            value = run["env"].get(name)
            if value and value != run.get("master_interface"):
                yield str(value)


def _once(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
