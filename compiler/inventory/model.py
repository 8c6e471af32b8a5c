"""Hosts, groups and settings as the compiler sees them: frozen, and free of secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """The ``deepep_*`` variables of one host, defaults filled in (``schemas/inventory.schema.json``).

    ``None`` means that nothing was set and there is no default.
    """

    launcher: str
    container_runtime: str
    program: str
    backend: str
    gpus_per_node: int
    python: str | None
    cache_images_locally: bool
    image_cache_dir: str | None
    work_dir: str | None
    registries: tuple[str, ...]
    """Names of registries only: users and passwords are never read."""
    master_interface: str | None
    env: Mapping[str, str]
    container_mounts: tuple[str, ...]
    container_privileged: bool
    container_entrypoint: bool
    container_without: tuple[str, ...]
    container_options: tuple[str, ...]
    jit_cache_dir: str | None
    iterations_cap: int | None
    warmups_cap: int | None
    one_machine: str | None
    rendezvous_timeout_s: int
    process_group_timeout_s: int


@dataclass(frozen=True, slots=True)
class Host:
    """One inventory host.

    ``variables`` are the inventory variables that travel into the bundle's inventory as they are: how
    Ansible connects, and settings of roles. ``groups`` are in inventory order, without ``all``.
    """

    name: str
    groups: tuple[str, ...]
    connection: str
    settings: Settings
    variables: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Inventory:
    """All hosts in inventory order, and each group's hosts in the group's own order."""

    source: str
    """What the user named as inventory, for messages."""
    hosts: Mapping[str, Host]
    groups: Mapping[str, tuple[str, ...]]
