"""The order of execution: file order, dependencies, overlaps."""

from __future__ import annotations

import sys

import pytest

from compiler.plan.schedule import Schedule, schedule
from compiler.scenario.model import Entry
from tests.plan.samples import entry


def order(*entries: Entry, runs: dict[str, int] | None = None) -> Schedule:
    made, findings = schedule(entries, ids(entries, runs))
    assert made is not None, findings
    return made


def ids(entries: tuple[Entry, ...], runs: dict[str, int] | None) -> dict[str, list[str]]:
    return {one.id: [f"{one.id}{number}" for number in range((runs or {}).get(one.id, 1))] for one in entries}


def words(made: Schedule) -> str:
    return " ".join(f"{step.verb.value}:{step.run}" for step in made.steps)


def test_file_order() -> None:
    made = order(entry("a"), entry("b"), runs={"a": 2})
    assert words(made) == (
        "start:a0 await:a0 finish:a0 start:a1 await:a1 finish:a1 start:b0 await:b0 finish:b0"
    )
    assert made.concurrent == {}


def test_what_must_complete_first_comes_first() -> None:
    made = order(entry("a", after=[("start_post_comp", "c")]), entry("b"), entry("c"))
    assert (
        words(made) == "start:c0 await:c0 finish:c0 start:a0 await:a0 finish:a0 start:b0 await:b0 finish:b0"
    )


def test_a_background_load() -> None:
    load = entry("load", after=[("end_post_comp", "main")])
    main = entry("main", after=[("start_post_init", "load")])
    made = order(load, main, entry("last"))
    assert words(made) == (
        "start:load0 start:main0 await:main0 finish:main0 stop:load0 finish:load0 "
        "start:last0 await:last0 finish:last0"
    )
    assert made.concurrent == {"load": frozenset({"main"}), "main": frozenset({"load"})}


def test_start_post_init_alone_awaits_both() -> None:
    made = order(entry("b", after=[("start_post_init", "a")]), entry("a"))
    assert words(made) == "start:a0 start:b0 await:b0 finish:b0 await:a0 finish:a0"


def test_members_of_an_overlap_may_follow_each_other() -> None:
    load = entry("load")
    first = entry("first", after=[("start_post_init", "load")])
    second = entry("second", after=[("start_post_init", "load"), ("start_post_comp", "first")])
    made = order(load, first, second)
    assert words(made) == (
        "start:load0 start:first0 await:first0 finish:first0 start:second0 "
        "await:load0 finish:load0 await:second0 finish:second0"
    )
    assert "second" not in made.concurrent["first"]


def test_one_of_the_overlapping_may_have_several_runs() -> None:
    load = entry("load", after=[("end_post_comp", "main")])
    main = entry("main", after=[("start_post_init", "load")])
    made = order(load, main, runs={"main": 2})
    assert words(made) == (
        "start:load0 start:main0 await:main0 finish:main0 start:main1 await:main1 finish:main1 "
        "stop:load0 finish:load0"
    )


def test_a_chain_as_long_as_the_scenario() -> None:
    number = 3 * sys.getrecursionlimit()
    entries = [
        entry(f"e{i}", after=[("start_post_comp", f"e{i + 1}")] if i + 1 < number else ())
        for i in range(number)
    ]
    made = order(*entries)
    assert made.steps[0].run == f"e{number - 1}0"
    assert made.steps[-1].run == "e00"


@pytest.mark.parametrize(
    ("entries", "runs", "says"),
    [
        (
            [entry("a", after=[("start_post_comp", "b")]), entry("b", after=[("start_post_comp", "a")])],
            {},
            "the other way",
        ),
        (
            [entry("a", after=[("start_post_init", "b")]), entry("b", after=[("start_post_init", "a")])],
            {},
            "before itself",
        ),
        ([entry("a", after=[("end_post_comp", "b")]), entry("b", after=[("end_post_comp", "a")])], {}, "end"),
        (
            [entry("a", after=[("end_post_comp", "b")]), entry("b", after=[("start_post_comp", "a")])],
            {},
            "would have to",
        ),
        (
            [entry("a"), entry("c", after=[("start_post_comp", "a")]),
             entry("b", after=[("start_post_init", "a"), ("start_post_comp", "c")])],
            {},
            "the other way",
        ),
        (
            [entry("a"), entry("b"), entry("c", after=[("end_post_comp", "a"), ("end_post_comp", "b")])],
            {},
            "only one can decide",
        ),
        ([entry("a"), entry("b", after=[("end_post_comp", "a")])], {"b": 2}, "which one ends"),
        ([entry("a"), entry("b", after=[("start_post_init", "a")])], {"a": 2, "b": 2}, "several runs"),
    ],
)  # fmt: skip
def test_impossible(entries: list[Entry], runs: dict[str, int], says: str) -> None:
    made, findings = schedule(entries, ids(tuple(entries), runs))
    assert made is None
    assert [found.code for found in findings] == ["DEP224"]
    assert says in findings[0].message
    assert findings[0].place is not None
    assert findings[0].fix
