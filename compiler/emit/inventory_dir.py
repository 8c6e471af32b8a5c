"""Writes an inventory directory from a CloudAI system TOML (``import-system``)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from compiler.emit.yaml_text import key, value
from compiler.inventory.system import System


def inventory_files(system: System) -> Iterator[tuple[str, str]]:
    """Yields path in the directory and text of each file."""
    yield "hosts.yml", "".join(f"{line}\n" for line in _hosts(system))
    yield "group_vars/all.yml", "".join(f"{line}\n" for line in _variables(system))
    for partition in system.partitions:
        # Not in hosts.yml: Ansible lets group_vars/all.yml win over what stands there.
        own = system.of_partition(partition)
        if own:
            lines = ["---", *(f"{name}: {value(setting)}" for name, setting in own.items())]
            yield f"group_vars/{partition}.yml", "".join(f"{line}\n" for line in lines)


def write_inventory(system: System, target: Path) -> None:
    """Writes the directory. Raises FileExistsError where ``target`` exists and is not empty, and OSError."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} exists and is not empty")
    for name, text in inventory_files(system):
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _hosts(system: System) -> Iterator[str]:
    yield "# Partitions and their groups of nodes, from a CloudAI system TOML."
    yield "---"
    yield "all:"
    if system.hosts:
        yield "  hosts:"
        for host in system.hosts:
            yield f"    {key(host)}: {{}}"
    if system.partitions:
        yield "  children:"
    for partition, groups in system.partitions.items():
        direct = groups.get(partition, ())
        children = {group: hosts for group, hosts in groups.items() if group != partition}
        yield f"    {key(partition)}:{'' if direct or children else ' {}'}"
        if direct:
            yield "      hosts:"
            for host in direct:
                yield f"        {key(host)}: {{}}"
        if children:
            yield "      children:"
        for group, hosts in children.items():
            yield f"        {key(group)}:{'' if hosts else ' {}'}"
            if hosts:
                yield "          hosts:"
            for host in hosts:
                yield f"            {key(host)}: {{}}"


def _variables(system: System) -> Iterator[str]:
    yield f"# Settings of the system {value(system.name)}."
    yield "# What each variable means: deepep-compiler schema inventory"
    yield "---"
    for name, setting in system.variables.items():
        if isinstance(setting, dict):
            yield f"{name}:"
            for item, text in setting.items():
                yield f"  {item}: {value(text)}"
        else:
            yield f"{name}: {value(setting)}"
