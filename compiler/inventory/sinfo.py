"""What a Slurm cluster says of its partitions and nodes: ``sinfo`` on the login host, through Ansible."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compiler.inventory.hostlist import HostListError, expand, split
from compiler.runner.ansible import AnsibleMissingError, executable

FORMAT = "%P|%a|%l|%N|%G|%T"
COMMAND = f"sinfo --noheader --format={FORMAT}"
_GPU = re.compile(r"\bgpu(?::[A-Za-z][^:,(]*)?:([0-9]+)")
_DOWN = ("down", "drain", "fail", "unknown", "power", "reboot", "maint", "inval", "no_respond")


class OnlineError(Exception):
    """The cluster could not be asked; the text says why."""


@dataclass(slots=True)
class Partition:
    """A partition: its longest time limit in s (None: none), its nodes with GPUs and state."""

    name: str
    available: bool
    limit_s: int | None
    gpus: dict[str, int] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)

    def is_down(self, node: str) -> bool:
        """Returns whether a node takes no jobs now."""
        return self.states.get(node, "").startswith(_DOWN)


@dataclass(slots=True)
class Cluster:
    """All partitions; ``default`` names the one that jobs without a partition go to."""

    partitions: dict[str, Partition] = field(default_factory=dict)
    default: str | None = None


def parse(text: str) -> Cluster:
    """Returns what ``sinfo`` printed in our format."""
    cluster = Cluster()
    for line in text.splitlines():
        cells = line.strip().split("|")
        if len(cells) != len(FORMAT.split("|")):
            continue
        name, available, limit, nodes, gres, state = cells
        if name.endswith("*"):
            name = name.removesuffix("*")
            cluster.default = name
        partition = cluster.partitions.setdefault(name, Partition(name, available == "up", _seconds(limit)))
        gpus = sum(int(found) for found in _GPU.findall(gres))
        for node in _names(nodes):
            partition.gpus[node] = gpus
            partition.states[node] = state.rstrip("*~#!%$@^-+")
    return cluster


def _names(nodes: str) -> Iterable[str]:
    try:
        return [name for part in split(nodes) for name in expand(part)]
    except HostListError:
        return []


def _seconds(text: str) -> int | None:
    """Returns Slurm's ``[D-][HH:]MM:SS`` in s, None for ``infinite``."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def ask(login: str, sources: Sequence[str], options: Sequence[str]) -> Cluster:
    """Returns the cluster of a login host, reached as the inventory ``sources`` say. Raises OnlineError."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [
            *(part for source in sources for part in ("-i", source)), *options,
            "-m", "ansible.builtin.command", "-a", COMMAND, "--tree", folder, login,
        ]  # fmt: skip
        if not sources:
            argv = ["-i", "localhost,", "-c", "local", *argv]
        try:
            done = subprocess.run(  # noqa: S603
                [executable("ansible"), *argv], capture_output=True, text=True, check=False
            )
        except AnsibleMissingError as error:
            raise OnlineError(str(error)) from error
        try:
            answer: Mapping[str, object] = json.loads((Path(folder) / login).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise OnlineError(f"{login}: {lines[-1] if lines else error}") from error
    if answer.get("rc") != 0:
        raise OnlineError(f"{login}: {answer.get('stderr') or answer.get('msg') or 'sinfo did not run'}")
    return parse(str(answer.get("stdout") or ""))
