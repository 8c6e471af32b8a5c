"""Checks that need hosts and ranks: each point of an entry's sweep, as the plan, or an assumption, has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from compiler.diagnostics.model import Diagnostic, KeyPath, Place
from compiler.diagnostics.wording import value_text
from compiler.inventory.hostlist import HostListError, expand, split
from compiler.rules import images, routing
from compiler.rules.assumptions import BACKEND, RANKS_PER_HOST, Assumptions
from compiler.rules.kernels import Finding, RunFacts, check_run
from compiler.scenario.model import Case, Entry

ANY_HOSTS = (1, 2, 4)
"""A test by itself has no number of hosts: only what is wrong with all of these is said."""

_MOST = 5
_INSTEAD: Mapping[str, tuple[str, ...]] = {
    "num_experts": ("num_nodes", "nodes"),
    "tokens": ("mode",),
    "backend": ("mode",),
}
"""Where a finding stands whose own key nobody wrote."""


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a sweep on its hosts. ``env`` is the inventory's; ``runtime`` None: nobody knows it."""

    case: Case
    hosts: int
    ranks_per_host: int
    backend: str
    program: str = "bundled"
    runtime: str | None = None
    env: Mapping[str, str] | None = None
    assumed: bool = False


class RunRules:
    """Checks entries; what many runs have in common is worked out once."""

    def __init__(self, assume: Assumptions) -> None:
        """Takes what the user assumes about the cluster."""
        self._assume = assume
        self._known: dict[object, tuple[Finding, ...]] = {}

    def of_entry(self, entry: Entry, points: Sequence[Point]) -> list[Diagnostic]:
        """Returns what is wrong with an entry's points, each finding once."""
        return [*self._kernels(entry, points), *_routing(entry, points), *_images(entry, points)]

    def of_entry_alone(self, entry: Entry) -> list[Diagnostic]:
        """As :meth:`of_entry`, without an inventory; points whose number of hosts is open are left out."""
        points = []
        for case in entry.cases:
            hosts = host_count(entry, case)
            if hosts is not None:
                points.append(self._assumed(case, hosts))
        return [*self._kernels(entry, points), *_routing(entry, points), *_images(entry, points)]

    def of_test(self, entry: Entry) -> list[Diagnostic]:
        """Returns what is wrong with a test by itself, whatever hosts it will run on."""
        everywhere: list[Diagnostic] = []
        for number, hosts in enumerate(ANY_HOSTS):
            points = [self._assumed(case, hosts) for case in entry.cases]
            found = self._kernels(replace(entry, time_limit_s=None), points)
            everywhere = [one for one in everywhere if one in set(found)] if number else found
        return everywhere + _images(entry, points)

    def _assumed(self, case: Case, hosts: int) -> Point:
        ranks = self._assume.of_ranks or RANKS_PER_HOST
        backend = case.arguments.backend or self._assume.backend or BACKEND
        return Point(case, hosts, ranks, backend, assumed=self._assume.ranks_per_host is None)

    def _kernels(self, entry: Entry, points: Sequence[Point]) -> list[Diagnostic]:
        merged: dict[tuple[str, KeyPath, str], tuple[Finding, list[Point]]] = {}
        for point in points:
            if point.case.arguments.num_topk > point.case.arguments.num_experts:
                continue  # said already, and the cause of whatever would be found
            for found in self._check(entry, point):
                merged.setdefault((found.code, found.key, found.message), (found, []))[1].append(point)
        groups: dict[tuple[str, KeyPath], list[tuple[Finding, list[Point]]]] = {}
        for (code, key, _), group in merged.items():
            groups.setdefault((code, key), []).append(group)
        return [one for group in groups.values() for one in _told(entry, group, points)]

    def _check(self, entry: Entry, point: Point) -> tuple[Finding, ...]:
        case = point.case
        env = {**point.env, **case.env} if point.env else case.env
        key = (
            case.arguments, point.hosts, point.ranks_per_host, point.backend, point.program,
            tuple(env.items()), entry.time_limit_s, point.assumed,
        )  # fmt: skip
        found = self._known.get(key)
        if found is None:
            facts = RunFacts(
                arguments=case.arguments,
                nodes=point.hosts,
                ranks_per_host=point.ranks_per_host,
                backend=point.backend,
                program=point.program,
                deepep_version=self._assume.deepep_version,
                env=env,
                time_limit_s=entry.time_limit_s,
                ranks_assumed=point.assumed,
            )
            found = self._known[key] = check_run(facts)
        return found


def host_count(entry: Entry, case: Case) -> int | None:
    """Returns the number of hosts that an entry asks for; None where only an inventory can tell."""
    if case.num_nodes is not None:
        return case.num_nodes
    if not entry.nodes:
        return 1
    total = 0
    for spec in entry.nodes:
        try:
            for part in split(spec.text):
                if part.count(":") == 2:
                    count = part.rpartition(":")[2].strip()
                    if not (count.isascii() and count.isdigit() and len(count) <= 9):
                        return None
                    total += int(count)
                else:
                    total += len(expand(part))
        except HostListError:
            return None
    return total


def _told(
    entry: Entry, group: Sequence[tuple[Finding, list[Point]]], points: Sequence[Point]
) -> list[Diagnostic]:
    """Returns one rule's findings about one key; of very many only the first ones."""
    shown = [
        _diagnostic(entry, found, where, len(where) < len(points) and len(points) > 1, points)
        for found, where in group[:_MOST]
    ]
    if len(group) > _MOST:
        more = sum(len(where) for _, where in group[_MOST:])
        shown[-1] = replace(
            shown[-1], message=f"{shown[-1].message}; {more:,} more points of the sweep are like it"
        )
    return shown


def _diagnostic(
    entry: Entry, found: Finding, where: Sequence[Point], some: bool, points: Sequence[Point]
) -> Diagnostic:
    place, whose = _place(entry, found.key, where[0].case)
    at = f", where {_which(where, points)}" if some else ""
    return Diagnostic(found.code, found.severity, f"{found.message}{whose}{at}", place, found.why, found.fix)


def _place(entry: Entry, key: KeyPath, case: Case) -> tuple[Place | None, str]:
    """Returns where the key was written, and a hint where that is not in the scenario or its test."""
    names = [name for name in key if isinstance(name, str)]
    match names:
        case ["cmd_args", name]:
            place = entry.origin.argument(case, name)
            if place == entry.origin.entry:
                others = (_written(entry, other, case) for other in _INSTEAD.get(name, ()))
                place = next((other for other in others if other is not None), place)
            return place, ""
        case ["extra_env_vars", name]:
            place = entry.origin.place("extra_env_vars", name)
            if place == entry.origin.entry:
                return None, " (the inventory's deepep_env)"
            return _point_of(place, entry, f"extra_env_vars.{name}", case), ""
        case ["num_nodes"]:
            written = _written(entry, "num_nodes", case) or _written(entry, "nodes", case)
            return written or entry.origin.entry, ""
        case _:
            return entry.origin.place(*names), ""


def _written(entry: Entry, key: str, case: Case) -> Place | None:
    if key == "nodes":
        return entry.nodes[0].place if entry.nodes else None
    if key == "mode":
        place = entry.origin.argument(case, key)
        return None if place == entry.origin.entry else place
    place = entry.origin.place(key)
    return None if place == entry.origin.entry else _point_of(place, entry, key, case)


def _point_of(place: Place, entry: Entry, axis: str, case: Case) -> Place:
    """Returns the place of this point's value within the list that is swept."""
    if axis not in case.sweep:
        return place
    values = list(dict.fromkeys(other.sweep[axis] for other in entry.cases))
    return Place(place.file, (*place.path, values.index(case.sweep[axis])))


def _which(where: Sequence[Point], points: Sequence[Point]) -> str:
    """Returns the points in words: by the values that tell them from the others, if these do."""
    axes = list(points[0].case.sweep)
    chosen = {axis: list(dict.fromkeys(point.case.sweep[axis] for point in where)) for axis in axes}
    every = {axis: len({point.case.sweep[axis] for point in points}) for axis in axes}
    telling = [axis for axis in axes if len(chosen[axis]) < every[axis]]
    size = 1
    for axis in axes:
        size *= len(chosen[axis])
    if telling and size == len(where):
        return " and ".join(f"{_name(axis)} = {_values(chosen[axis])}" for axis in telling)
    words = [
        ", ".join(f"{_name(axis)} = {value_text(value)}" for axis, value in point.case.sweep.items())
        for point in where[:3]
    ]
    more = f" and at {len(where) - 3:,} more points" if len(where) > 3 else ""
    return "; or ".join(words) + more


def _name(axis: str) -> str:
    return axis.removeprefix("cmd_args.").removeprefix("extra_env_vars.")


def _values(values: Sequence[object]) -> str:
    words = [value_text(value) for value in values[:4]]
    more = f" or {len(values) - 4:,} more" if len(values) > 4 else ""
    return " or ".join(words) + more


def _routing(entry: Entry, points: Sequence[Point]) -> list[Diagnostic]:
    """What the number of ranks decides, where it is known."""
    found = [
        one
        for point in points
        if point.program == "bundled" and not point.assumed
        for one in routing.reachable(entry, point.case, point.hosts * point.ranks_per_host)
    ]
    return list(dict.fromkeys(found))


def _images(entry: Entry, points: Sequence[Point]) -> list[Diagnostic]:
    found: list[Diagnostic] = []
    seen: set[tuple[str, str | None]] = set()
    for point in points:
        image = point.case.arguments.docker_image_url
        if image is None or point.runtime == "none" or (image, point.runtime) in seen:
            continue
        seen.add((image, point.runtime))
        found += images.check(image, point.runtime, entry.origin.argument(point.case, "docker_image_url"))
    return found
