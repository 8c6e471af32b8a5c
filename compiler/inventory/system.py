"""A CloudAI system TOML as an inventory: partitions and groups become groups, settings become variables."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import cast

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic, Place, Severity
from compiler.document.model import Document
from compiler.inventory.hostlist import HostListError, expand, split
from compiler.inventory.listing import read_listing
from compiler.inventory.model import Inventory

_UNDERSTOOD = frozenset(
    {
        "name",
        "scheduler",
        "partitions",
        "global_env_vars",
        "gpus_per_node",
        "cache_docker_images_locally",
        "default_partition",
    }
)
_OF_SLURM = {
    "default_partition": "partition",
    "account": "account",
    "distribution": "distribution",
    "mpi": "mpi",
    "monitor_interval": "poll_s",
    "extra_sbatch_args": "sbatch_args",
}
"""Settings that are variables of this project under another name."""
_ELSEWHERE = {
    "output_path": "give the results' directory to run with --results-dir; for hosts that share a directory, "
    "set deepep_slurm_shared_dir to its absolute path",
    "install_path": "set deepep_image_cache_dir to an absolute path on the hosts",
    "ntasks_per_node": "nothing to do: each host has one launcher, which starts deepep_gpus_per_node ranks",
}


@dataclass(frozen=True, slots=True)
class System:
    """What a system TOML says, in Ansible's terms.

    ``partitions`` has each partition's groups and these their hosts, all in the file's order; ``variables``
    are ``deepep_*`` and ``ansible_*`` variables of all hosts.
    """

    name: str
    partitions: Mapping[str, Mapping[str, tuple[str, ...]]]
    hosts: tuple[str, ...]
    """Hosts outside of any partition."""
    variables: Mapping[str, object]
    own_partitions: frozenset[str] = frozenset()
    """Partitions whose hosts are in no other one, least of all in the default: their hosts run jobs there."""

    def of_partition(self, partition: str) -> Mapping[str, object]:
        """Returns the variables of a partition's hosts that differ from :attr:`variables`."""
        return {"deepep_slurm_partition": partition} if partition in self.own_partitions else {}

    def listing(self) -> dict[str, object]:
        """Returns it as ``ansible-inventory --list`` would print it."""
        groups: dict[str, dict[str, list[str]]] = {}
        names = list(self.hosts)
        for partition, members in self.partitions.items():
            of_partition = groups.setdefault(partition, {})
            for group, hosts in members.items():
                if group != partition:
                    of_partition.setdefault("children", []).append(group)
                listed = groups.setdefault(group, {}).setdefault("hosts", [])
                listed += [host for host in hosts if host not in set(listed)]
                names += hosts
        hostvars = {name: dict(self.variables) for name in names}
        for partition, members in self.partitions.items():
            for hosts in members.values():
                for host in hosts:
                    hostvars[host].update(self.of_partition(partition))
        return {
            "_meta": {"hostvars": hostvars},
            "all": {"children": ["ungrouped", *self.partitions]},
            "ungrouped": {"hosts": list(self.hosts)},
            **groups,
        }


def system_to_inventory(document: Document) -> tuple[Inventory | None, list[Diagnostic]]:
    """Returns the inventory that a (schema-checked) system TOML stands for; None where it names no hosts."""
    system, findings = read_system(document)
    if any(found.severity is Severity.ERROR for found in findings) or not (system.partitions or system.hosts):
        return None, findings
    listing = system.listing()
    if not cast("Mapping[str, Mapping[str, object]]", listing["_meta"])["hostvars"]:
        return None, findings
    inventory, more = read_listing(listing, document.path.name, [document.path.parent])
    return inventory and replace(inventory, of_system=True), findings + more


def read_system(document: Document) -> tuple[System, list[Diagnostic]]:
    """Returns what a (schema-checked) system TOML says, and what is wrong with its host ranges and groups."""
    data = document.data
    findings: list[Diagnostic] = []
    partitions: dict[str, dict[str, tuple[str, ...]]] = {}
    for number, partition in enumerate(cast("list[Mapping[str, object]]", data.get("partitions", []))):
        groups = partitions.setdefault(str(partition["name"]), {})
        for index, group in enumerate(cast("list[Mapping[str, object]]", partition.get("groups", []))):
            place = Place(document.path, ("partitions", number, "groups", index, "nodes"))
            hosts = _hosts(cast("list[str]", group.get("nodes", [])), place, findings)
            name = str(group["name"])
            groups[name] = tuple(dict.fromkeys((*groups.get(name, ()), *hosts)))
    system = System(
        str(data["name"]),
        partitions,
        ("localhost",) if data["scheduler"] == "standalone" else (),
        {**dict(_variables(data)), **_of_slurm(document, findings)},
        _own(partitions, str(data.get("default_partition"))) if data["scheduler"] == "slurm" else frozenset(),
    )
    return system, findings + list(_clashes(system, document))


def not_carried(document: Document) -> Iterator[Diagnostic]:
    """Yields a warning for each setting that the inventory has no place for."""
    for key in document.data:
        if key in _UNDERSTOOD or (key == "install_path" and _image_cache(document.data) is not None):
            continue
        if document.data["scheduler"] == "slurm" and (
            key in (*_OF_SLURM, "extra_srun_args", "container_mount_home")
            or (key == "output_path" and _absolute(document.data[key]))
        ):
            continue
        yield finding(
            "system-setting-not-carried",
            f"{key} is not carried into the inventory",
            Place(document.path, (key,), on_key=True),
            fix=_ELSEWHERE.get(key, ""),
        )


def _hosts(ranges: list[str], place: Place, findings: list[Diagnostic]) -> Iterator[str]:
    for index, text in enumerate(ranges):
        try:
            for part in split(text):
                yield from expand(part)
        except HostListError as error:
            findings.append(
                finding("bad-node-spec", str(error), Place(place.file, (*place.path, index)), fix=error.fix)
            )


def _clashes(system: System, document: Document) -> Iterator[Diagnostic]:
    """Yields a warning where PARTITION:GROUP would mean other hosts: an inventory's groups are global."""
    anywhere: dict[str, set[str]] = {}
    for partition, groups in system.partitions.items():
        for group, hosts in groups.items():
            anywhere.setdefault(group, set()).update(hosts)
            anywhere.setdefault(partition, set()).update(hosts)
    for partition, groups in system.partitions.items():
        for group, hosts in groups.items():
            found = anywhere[group] & anywhere[partition]
            if found != set(hosts):
                yield finding(
                    "system-setting-not-carried",
                    f"{partition}:{group} has {len(hosts)} hosts here and {len(found)} "
                    f"as an inventory: another group or partition is also named {group}",
                    Place(document.path, ("partitions",), on_key=True),
                    fix="give groups that hold different hosts different names",
                )


def _variables(data: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    if data["scheduler"] == "slurm":
        yield "deepep_launcher", "slurm"
        yield "deepep_container_runtime", "enroot"
    else:
        yield "ansible_connection", "local"
        yield "deepep_launcher", "ssh"
    if "gpus_per_node" in data:
        yield "deepep_gpus_per_node", data["gpus_per_node"]
    if "cache_docker_images_locally" in data:
        yield "deepep_cache_images_locally", data["cache_docker_images_locally"]
    if (cache := _image_cache(data)) is not None:
        yield "deepep_image_cache_dir", cache
    environment = cast("Mapping[str, object]", data.get("global_env_vars", {}))
    if environment:
        yield "deepep_env", {name: _text(value) for name, value in environment.items()}


def _of_slurm(document: Document, findings: list[Diagnostic]) -> Mapping[str, object]:
    """Returns the ``deepep_slurm_*`` variables. The hosts of CloudAI share its output_path."""
    data = document.data
    if data["scheduler"] != "slurm":
        return {}
    found = {f"deepep_slurm_{name}": data[key] for key, name in _OF_SLURM.items() if key in data}
    words: list[str] = []
    try:
        words = shlex.split(str(data.get("extra_srun_args", "")))
    except ValueError as error:
        text = f"extra_srun_args cannot be split into words: {error}"
        findings.append(finding("bad-srun-args", text, Place(document.path, ("extra_srun_args",))))
    if data.get("container_mount_home"):
        words.append("--container-mount-home")
    if words:
        found["deepep_slurm_srun_args"] = words
    if "gpus_per_node" not in data:
        found["deepep_slurm_gpu_request"] = "none"
    if _absolute(data.get("output_path")):
        found["deepep_slurm_shared_dir"] = data["output_path"]
    return found


def _own(partitions: Mapping[str, Mapping[str, tuple[str, ...]]], default: str) -> frozenset[str]:
    of_partition = {
        name: {host for hosts in groups.values() for host in hosts} for name, groups in partitions.items()
    }
    return frozenset(
        name
        for name, hosts in of_partition.items()
        if name != default
        and default in of_partition
        and not any(hosts & others for other, others in of_partition.items() if other != name)
    )


def _absolute(path: object) -> bool:
    return isinstance(path, str) and PurePosixPath(path).is_absolute()


def _image_cache(data: Mapping[str, object]) -> str | None:
    path = data.get("install_path")
    return path if isinstance(path, str) and _absolute(path) else None


def _text(value: object) -> str:
    """Returns an environment value as CloudAI exports it."""
    if isinstance(value, Mapping):
        value = value["default"]
    return value if isinstance(value, str) else str(value)
