"""Dependencies -> the order of execution: what is started, awaited, stopped and finished when.

Entries run one after another in file order; an entry that another must complete before comes first. Only
``start_post_init`` and ``end_post_comp`` make entries run at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic
from compiler.plan.model import Step, Verb
from compiler.scenario.model import Dependency, DependencyType, Entry

_MOST_AT_ONCE = 100
"""More entries than anybody lets run at the same time."""
_OVERLAPS = (DependencyType.START_POST_INIT, DependencyType.END_POST_COMP)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The flat steps, and for each entry that overlaps others which ones (both ways)."""

    steps: tuple[Step, ...]
    concurrent: Mapping[str, frozenset[str]]


def schedule(
    entries: Sequence[Entry], runs: Mapping[str, Sequence[str]]
) -> tuple[Schedule | None, list[Diagnostic]]:
    """Returns the order of execution, or None with the reasons why there is none.

    ``runs`` has the run ids of each entry in the order in which they follow each other.
    """
    try:
        scheduler = _Scheduler(entries, runs)
        scheduler.run()
    except _Impossible as impossible:
        return None, [impossible.finding]
    return Schedule(tuple(scheduler.steps), scheduler.concurrent()), []


class _Impossible(Exception):
    def __init__(self, entry: Entry, dependency: Dependency | None, message: str, fix: str = "") -> None:
        super().__init__(message)
        place = dependency.place if dependency else entry.place
        self.finding = finding("overlap-impossible", message, place, fix=fix)


class _Scheduler:
    """Depth first over the dependencies; the order of the file decides where they leave a choice."""

    def __init__(self, entries: Sequence[Entry], runs: Mapping[str, Sequence[str]]) -> None:
        self._entries = {entry.id: entry for entry in entries}
        self._runs = runs
        self._group_of = self._groups(entries)
        self._state: dict[str, str] = {}  # absent, starting, running, ending, ended
        self._running: dict[str, None] = {}
        self._concurrent: dict[str, set[str]] = {}
        self.steps: list[Step] = []

    def run(self) -> None:
        """Fills :attr:`steps`."""
        for group in self._groups_in_order():
            self._whole_group(group)

    def concurrent(self) -> dict[str, frozenset[str]]:
        """Returns for each entry that overlaps others their ids."""
        return {entry: frozenset(others) for entry, others in self._concurrent.items()}

    def _groups(self, entries: Sequence[Entry]) -> dict[str, list[str]]:
        """Returns for each entry all entries that it overlaps, directly or through others, in file order."""
        group_of: dict[str, list[str]] = {entry.id: [entry.id] for entry in entries}
        for entry in entries:
            for dependency in entry.dependencies:
                mine, other = group_of[entry.id], group_of[dependency.id]
                if dependency.type in _OVERLAPS and mine is not other:
                    mine += other
                    for member in other:
                        group_of[member] = mine
        order = {entry.id: index for index, entry in enumerate(entries)}
        for group in group_of.values():
            if len(group) > 1:
                group.sort(key=order.__getitem__)
        return group_of

    def _groups_in_order(self) -> list[list[str]]:
        """Returns the groups so that what must complete first comes first, else in file order.

        Without recursion: a chain of dependencies may be as long as the scenario.
        """
        ordered: list[list[str]] = []
        done: set[int] = set()
        waiting: set[int] = set()
        for entry in self._entries.values():
            stack = [(self._group_of[entry.id], False)]
            while stack:
                group, ready = stack.pop()
                if ready:
                    done.add(id(group))
                    waiting.discard(id(group))
                    ordered.append(group)
                elif id(group) not in done and id(group) not in waiting:
                    waiting.add(id(group))
                    stack.append((group, True))
                    for needed in reversed(self._needed(group)):
                        if id(needed) in waiting:
                            raise _Impossible(
                                self._entries[group[0]], None,
                                f"{', '.join(needed)} would have to end before {', '.join(group)} starts, "
                                "and the other way round",
                            )  # fmt: skip
                        stack.append((needed, False))
        return ordered

    def _needed(self, group: Sequence[str]) -> list[list[str]]:
        return [
            self._group_of[dependency.id]
            for member in group
            for dependency in self._entries[member].dependencies
            if dependency.type is DependencyType.START_POST_COMP
            and self._group_of[dependency.id] is not self._group_of[member]
        ]

    def _whole_group(self, group: Sequence[str]) -> None:
        several = [member for member in group if len(self._runs[member]) > 1]
        if len(group) > _MOST_AT_ONCE:
            raise _Impossible(
                self._entries[group[0]], None, f"{len(group)} entries overlap; at most {_MOST_AT_ONCE} can"
            )  # fmt: skip
        if len(group) > 1 and len(several) > 1:
            raise _Impossible(
                self._entries[several[1]], None,
                f"{' and '.join(several[:2])} overlap and have several runs each: which belong together?",
                "let all but one of the entries that overlap have one run: no sweep, iterations = 1",
            )  # fmt: skip
        for member in group:
            self._start(self._entries[member])
        for member in group:
            self._end(self._entries[member])

    def _start(self, entry: Entry) -> None:
        state = self._state.get(entry.id)
        if state == "starting":
            raise _Impossible(entry, None, f"{entry.id} would have to start before itself")
        if state is not None:
            return
        self._state[entry.id] = "starting"
        for dependency in entry.dependencies:
            match dependency.type:
                case DependencyType.START_POST_COMP:
                    other = self._entries[dependency.id]
                    if self._group_of[other.id] is self._group_of[entry.id]:
                        self._start(other)
                        self._end(other)
                case DependencyType.START_POST_INIT:
                    self._start(self._entries[dependency.id])
        self._state[entry.id] = "running"
        for running in self._running:
            self._concurrent.setdefault(entry.id, set()).add(running)
            self._concurrent.setdefault(running, set()).add(entry.id)
        self._running[entry.id] = None
        self.steps.append(Step(Verb.START, self._runs[entry.id][0]))

    def _end(self, entry: Entry) -> None:
        state = self._state.get(entry.id)
        if state == "ended":
            return
        if state != "running":
            raise _Impossible(
                entry, None, f"{entry.id} would have to end before it can ({state or 'not started'})"
            )
        self._state[entry.id] = "ending"
        verb = self._what_ends(entry)
        first, *others = self._runs[entry.id]
        self.steps += (Step(verb, first), Step(Verb.FINISH, first))
        for run in others:
            self.steps += (Step(Verb.START, run), Step(Verb.AWAIT, run), Step(Verb.FINISH, run))
        del self._running[entry.id]
        self._state[entry.id] = "ended"

    def _what_ends(self, entry: Entry) -> Verb:
        """Has those completed that end the entry; returns how it is ended: awaited, or stopped by them."""
        enders = [
            dependency for dependency in entry.dependencies if dependency.type is DependencyType.END_POST_COMP
        ]
        if not enders:
            return Verb.AWAIT
        if len(enders) > 1:
            raise _Impossible(
                entry, enders[1],
                f"{entry.id} is to end with {' and '.join(one.id for one in enders)}; only one can decide",
                "keep one end_post_comp",
            )  # fmt: skip
        if len(self._runs[entry.id]) > 1:
            raise _Impossible(
                entry, enders[0],
                f"{entry.id} has {len(self._runs[entry.id])} runs; which one ends with {enders[0].id}?",
                "let an entry with end_post_comp have one run: no sweep, iterations = 1",
            )  # fmt: skip
        other = self._entries[enders[0].id]
        self._start(other)
        self._end(other)
        return Verb.STOP
