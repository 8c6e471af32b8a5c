"""Which hosts each run gets, and the settings that these have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic, Place
from compiler.inventory.model import Inventory, Settings
from compiler.inventory.nodes import Choice, choose_hosts, names_hosts_only
from compiler.scenario.model import Case, Entry

Point = tuple[str, int | None]
"""An entry's id and the step of its sweep: all iterations of it run on the same hosts."""

_MUST_AGREE = (
    "launcher",
    "container_runtime",
    "program",
    "backend",
    "gpus_per_node",
    "master_interface",
    "env",
    "container_mounts",
    "container_privileged",
    "container_entrypoint",
    "container_without",
    "container_options",
    "iterations_cap",
    "warmups_cap",
    "rendezvous_timeout_s",
    "process_group_timeout_s",
    "slurm",
)
"""Settings that shape a run as a whole; the others (paths, interpreters) may differ from host to host."""


def choose_all(
    inventory: Inventory, entries: Sequence[Entry], concurrent: Mapping[str, frozenset[str]]
) -> tuple[dict[Point, Choice], list[Diagnostic]]:
    """Returns the hosts of every point, and what is wrong with the others.

    Entries that run at the same time get different hosts: those that name theirs come first, then those
    that choose by count, in file order.
    """
    chooser = _Chooser(inventory)
    overlapping = [entry for entry in entries if entry.id in concurrent]
    named = {entry.id for entry in overlapping if names_hosts_only(inventory, entry.nodes)}
    for entry in sorted(overlapping, key=lambda one: one.id not in named):
        busy = {
            name: other for other in sorted(concurrent[entry.id]) for name in chooser.hosts_of.get(other, ())
        }
        if entry.id in named:
            chooser.choose(entry, ())
            chooser.refuse_shared(entry, busy)
        else:
            chooser.choose(entry, busy)
    for entry in entries:
        if entry.id not in concurrent:
            chooser.choose(entry, ())
    return chooser.chosen, chooser.findings


class _Chooser:
    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._known: dict[object, Choice] = {}
        self.chosen: dict[Point, Choice] = {}
        self.hosts_of: dict[str, dict[str, None]] = {}
        self.findings: list[Diagnostic] = []

    def choose(self, entry: Entry, busy: Iterable[str]) -> None:
        """Chooses for every point of the entry."""
        told: set[str] = set()
        for case in entry.cases:
            choice, problems = self._choice(entry, case, tuple(busy))
            # A sweep over something else repeats the same finding at each of its points.
            self.findings += [problem for problem in problems if problem.message not in told]
            told.update(problem.message for problem in problems)
            if choice is not None:
                self.chosen[entry.id, case.step] = choice
                self.hosts_of.setdefault(entry.id, {}).update(dict.fromkeys(choice.hosts))

    def _choice(
        self, entry: Entry, case: Case, busy: tuple[str, ...]
    ) -> tuple[Choice | None, list[Diagnostic]]:
        key = (
            tuple(spec.text for spec in entry.nodes),
            tuple(spec.text for spec in entry.exclude_nodes),
            case.num_nodes,
            busy,
        )
        if key in self._known:
            return self._known[key], []
        choice, problems = choose_hosts(
            self._inventory, entry.nodes, entry.exclude_nodes, case.num_nodes, entry.place, busy
        )
        if choice is not None:
            self._known[key] = choice
        return choice, problems

    def refuse_shared(self, entry: Entry, busy: Mapping[str, str]) -> None:
        """Adds an error where the entry names hosts of entries that run at the same time."""
        shared = [name for name in self.hosts_of.get(entry.id, ()) if name in busy]
        if shared:
            self.findings.append(
                finding(
                    "hosts-shared",
                    f"{entry.id} and {busy[shared[0]]} run at the same time and both use {', '.join(shared)}",
                    entry.nodes[0].place,
                )
            )


class CommonSettings:
    """Finds the settings of a run's hosts; all must agree on what shapes the run."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._known: dict[tuple[str, ...], Settings | None] = {}
        self.launchers: dict[str, Place] = {}
        """Launchers in use, with the first entry that uses each."""

    def of(self, hosts: tuple[str, ...], entry: Entry) -> tuple[Settings | None, list[Diagnostic]]:
        """Returns the first host's settings, or None with the differences (told once for the same hosts)."""
        if hosts in self._known:
            return self._known[hosts], []
        problems = self._differences(hosts, entry)
        settings = None if problems else self._inventory.hosts[hosts[0]].settings
        self._known[hosts] = settings
        if settings is not None:
            self.launchers.setdefault(settings.launcher, entry.place)
        return settings, problems

    def _differences(self, hosts: tuple[str, ...], entry: Entry) -> list[Diagnostic]:
        first, *others = hosts
        found = []
        for name in _MUST_AGREE:
            value = getattr(self._inventory.hosts[first].settings, name)
            for other in others:
                differing = getattr(self._inventory.hosts[other].settings, name)
                if differing != value:
                    found.append(
                        finding(
                            "settings-disagree",
                            f"deepep_{name} is {value!r} on {first} and {differing!r} on {other}; "
                            f"{entry.id} runs on both",
                            entry.place,
                        )
                    )
                    break
        return found
