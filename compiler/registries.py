"""Which registries a plan needs, and for which of them this machine knows credentials: never secrets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from compiler.inventory.model import Inventory
from compiler.plan.model import Plan
from compiler.resources import host_code

host_code()

from deepep_host import credential_sources  # noqa: E402
from deepep_host.reference import parse, registry_name  # noqa: E402


def needed(plan: Plan) -> dict[str, list[str]]:
    """Returns registry -> hosts that need an image of it, in the plan's order."""
    found: dict[str, list[str]] = {}
    for run in plan.runs:
        if run.image is not None and run.container_runtime != "none":
            host = parse(run.image).host
            if host:
                hosts = found.setdefault(host, [])
                hosts += [name for name in run.hosts if name not in hosts]
    return found


def lines(plan: Plan, inventory: Inventory, environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yields one line for each registry: where its credentials come from, or that there are none."""
    unreadable = None
    try:
        known, whole = credential_sources.known_registries(environment)
    except credential_sources.SourceError as error:
        known, whole, unreadable = frozenset(), False, str(error)
    for registry, hosts in needed(plan).items():
        without_port = registry.partition(":")[0]
        named = {
            registry_name(name)
            for host in hosts
            if host in inventory.hosts
            for name in inventory.hosts[host].settings.registries
        }
        if registry in named:
            yield f"registry {registry}: credentials from deepep_registries"
        elif credential_sources.in_environment(registry, environment):
            yield f"registry {registry}: credentials from ${credential_sources.variable_names(registry)[1]}"
        elif unreadable:
            yield f"registry {registry}: {unreadable}"
        elif registry in known or without_port in known:
            yield f"registry {registry}: credentials from this user's files"
        elif whole:
            yield (
                f"registry {registry}: no credentials are known here; its images must be public, or give "
                "some (docs/credentials.md)"
            )
        else:
            yield f"registry {registry}: credentials, if any, from this user's credential store"
