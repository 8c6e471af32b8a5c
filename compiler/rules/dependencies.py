"""Dependencies: on entries that exist, and without a circle."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic
from compiler.diagnostics.wording import listing, nearest, value_text
from compiler.rules.model import RawScenario
from compiler.scenario.model import DependencyType
from compiler.scenario.raw import RawDependency, RawEntry

_Event = tuple[str, str]
"""("start" or "end", id)"""
_Cause = tuple[RawEntry, RawDependency]
_Graph = Mapping[_Event, Sequence[tuple[_Event, _Cause | None]]]

_EVENTS = {
    DependencyType.START_POST_COMP: ("start", "end"),
    DependencyType.START_POST_INIT: ("start", "start"),
    DependencyType.END_POST_COMP: ("end", "end"),
}
"""Which event of the entry waits for which event of the other."""

_WORDS = {
    DependencyType.START_POST_COMP: "{} starts after {} completed",
    DependencyType.START_POST_INIT: "{} starts after {} started",
    DependencyType.END_POST_COMP: "{} ends after {} completed",
}


def known(scenario: RawScenario) -> Iterator[Diagnostic]:
    """A dependency names another entry of the same scenario."""
    ids = [entry.id for entry in scenario.entries if entry.id is not None]
    existing = set(ids)
    for entry in scenario.entries:
        for dependency in entry.dependencies:
            place = entry.place("dependencies", dependency.number, "id")
            if dependency.id == entry.id:
                yield finding("self-dependency", f"{entry.label} depends on itself", place)
            elif dependency.id not in existing:
                meant = nearest(dependency.id, ids)
                yield finding(
                    "unknown-dependency",
                    f"there is no entry with id {value_text(dependency.id)}",
                    place,
                    fix=f"write id = {value_text(meant)}"
                    if meant
                    else f"the ids are {listing(map(value_text, ids), 'and')}",
                )


def not_twice(scenario: RawScenario) -> Iterator[Diagnostic]:
    """No dependency is written twice; several of one type on different entries are fine."""
    for entry in scenario.entries:
        seen: set[tuple[str, str]] = set()
        for dependency in entry.dependencies:
            pair = (dependency.type, dependency.id)
            if pair in seen:
                text = (
                    f"{entry.label} has the dependency {dependency.type} on {value_text(dependency.id)} twice"
                )
                yield finding("duplicate-dependency", text, entry.place("dependencies", dependency.number))
            seen.add(pair)


def no_cycle(scenario: RawScenario) -> Iterator[Diagnostic]:
    """No start or end waits, directly or through others, for itself."""
    graph = _graph(scenario.entries)
    for component in _components(graph):
        told = _shortest_cycle(graph, component)
        if not told:
            continue
        entry, dependency = told[0]
        steps = [_WORDS[one.type].format(who.id, one.id) for who, one in told]
        ids = [who.id or "" for who, _ in told]
        yield finding(
            "dependency-cycle",
            f"these entries wait for each other: {' -> '.join([*dict.fromkeys(ids), ids[0]])}",
            entry.place("dependencies", dependency.number, "id"),
            why="; ".join(steps),
            fix=f"remove one of these dependencies of {listing(dict.fromkeys(ids))}",
        )


def _graph(entries: Sequence[RawEntry]) -> dict[_Event, list[tuple[_Event, _Cause | None]]]:
    """Maps each event to the events it waits for, with the dependency that says so."""
    by_id = {entry.id: entry for entry in reversed(entries) if entry.id is not None}
    graph: dict[_Event, list[tuple[_Event, _Cause | None]]] = {}
    for name in reversed(by_id):
        graph[("start", name)] = []
        graph[("end", name)] = [(("start", name), None)]
    for name, entry in by_id.items():
        for dependency in entry.dependencies:
            if dependency.id in by_id and dependency.id != name:
                mine, others = _EVENTS[dependency.type]
                graph[(mine, name)].append(((others, dependency.id), (entry, dependency)))
    return graph


def _components(graph: _Graph) -> Iterator[list[_Event]]:
    """Yields the strongly connected components of more than one event (Tarjan's algorithm, iterative)."""
    index: dict[_Event, int] = {}
    low: dict[_Event, int] = {}
    stack: list[_Event] = []
    on_stack: set[_Event] = set()
    for root in graph:
        if root in index:
            continue
        work = [(root, 0)]
        while work:
            node, position = work.pop()
            if position == 0:
                index[node] = low[node] = len(index)
                stack.append(node)
                on_stack.add(node)
            for number in range(position, len(graph[node])):
                target = graph[node][number][0]
                if target not in index:
                    work += [(node, number + 1), (target, 0)]
                    break
                if target in on_stack:
                    low[node] = min(low[node], index[target])
            else:
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[node])
                if low[node] == index[node]:
                    component = []
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        component.append(member)
                        if member == node:
                            break
                    if len(component) > 1:
                        yield component


def _shortest_cycle(graph: _Graph, component: Sequence[_Event]) -> list[_Cause]:
    """Returns the dependencies along a shortest circle through the component's first event in file order."""
    members = set(component)
    start = next(event for event in graph if event in members)
    before: dict[_Event, tuple[_Event, _Cause | None]] = {}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for target, cause in graph[node]:
            if target == start:
                causes = [cause]
                while node != start:
                    node, cause = before[node]
                    causes.append(cause)
                return [one for one in reversed(causes) if one is not None]
            if target in members and target not in before:
                before[target] = (node, cause)
                queue.append(target)
    return []
