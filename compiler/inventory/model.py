"""Hosts, groups and settings as the compiler sees them: frozen, and free of secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlurmSettings:
    """The ``deepep_slurm_*`` variables of one host: how runs become jobs. Without effect over SSH."""

    login: str = "localhost"
    partition: str | None = None
    account: str | None = None
    reservation: str | None = None
    qos: str | None = None
    distribution: str | None = None
    mpi: str = "none"
    gpu_request: str = "gres"
    exclusive: bool = True
    container: str = "pyxis"
    sbatch_args: tuple[str, ...] = ()
    srun_args: tuple[str, ...] = ()
    shared_dir: str | None = None
    hosts: str = "plan"
    one_job: bool = False
    parallel: bool = False
    margin_s: int = 300
    poll_s: int = 10
    queue_limit_s: int = 604800
    hold_s: int = 300
    host_python: str = "python3"


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
    master_address: str | None
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
    slurm: SlurmSettings
    slurm_node: str | None
    """The host's name in Slurm where it is not its inventory name."""


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
    barred: frozenset[str] = frozenset()
    """Hosts that this run of the compiler must not use (``--exclude``)."""
    of_system: bool = False
    """Whether a system TOML stands in for it: good to check a scenario with, not to run one."""
