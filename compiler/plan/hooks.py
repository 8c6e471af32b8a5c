"""The runs of hooks: before and after a run, on its own hosts, in directories below its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from compiler.plan.model import Step, Verb
from compiler.scenario.model import Entry

PRE, POST = "pre_test", "post_test"
"""The two hooks, their directories, and the types of the dependencies that they make."""

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Around:
    """The ids of the hooks' runs before and after one run."""

    before: tuple[str, ...]
    after: tuple[str, ...]


def named(hook: Sequence[Entry]) -> Iterator[tuple[str, Entry]]:
    """Yields the tests of a hook with the names of their directories: the test's, as CloudAI has it.

    The entry's id where a test's name is taken or cannot name a directory.
    """
    taken: set[str] = set()
    for entry in hook:
        plain = _SAFE.fullmatch(entry.test_name) is not None and entry.test_name.lower() not in taken
        name = entry.test_name if plain else entry.id
        taken.add(name.lower())
        yield name, entry


def with_hooks(steps: Sequence[Step], around: Mapping[str, Around]) -> Iterator[Step]:
    """Yields the schedule with each run's hooks before its start and after its end."""
    for step in steps:
        hooks = around.get(step.run)
        if hooks is not None and step.verb is Verb.START:
            yield from _one_after_another(hooks.before)
        yield step
        if hooks is not None and step.verb is Verb.FINISH:
            yield from _one_after_another(hooks.after)


def _one_after_another(runs: Sequence[str]) -> Iterator[Step]:
    for run in runs:
        for verb in (Verb.START, Verb.AWAIT, Verb.FINISH):
            yield Step(verb, run)
