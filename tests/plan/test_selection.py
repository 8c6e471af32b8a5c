"""A part of a plan: by id, with what belongs to it, and what it lacks."""

from __future__ import annotations

from compiler.plan.build import build_plan
from compiler.plan.model import Plan
from compiler.plan.selection import complete, named, part, unmet
from tests.plan.samples import case, entry, inventory, scenario


def sample() -> Plan:
    """Returns a plan with a sweep, a background run, and one that starts after it."""
    swept = entry("swept", case(1, 1), case(2, 1), iterations=2)
    load = entry("load", case(num_nodes=1), after=[("end_post_comp", "work")])
    work = entry("work", case(num_nodes=1), after=[("start_post_init", "load")])
    then = entry("then", case(num_nodes=4), after=[("start_post_comp", "work")])
    plan, found = build_plan(scenario(swept, load, work, then), inventory())
    assert plan is not None, found
    return plan


def test_an_id_means_an_entry_an_iteration_or_a_run() -> None:
    plan = sample()
    assert named(plan, ["swept"])[0] == {"swept/0/1", "swept/0/2", "swept/1/1", "swept/1/2"}
    assert named(plan, ["swept/1"])[0] == {"swept/1/1", "swept/1/2"}
    assert named(plan, ["swept/1/2", "then"])[0] == {"swept/1/2", "then/0"}
    assert named(plan, ["swep", "the", "swept/7"]) == (frozenset(), ["swep", "the", "swept/7"])


def test_runs_that_overlap_come_along() -> None:
    selection = complete(sample(), {"load/0"})
    assert (selection.runs, selection.joined) == ({"load/0", "work/0"}, ("work/0",))


def test_what_starts_after_another_needs_it_or_that_it_has_completed() -> None:
    plan = sample()
    assert list(unmet(plan, frozenset({"then/0"}), frozenset())) == [("then/0", "work/0")]
    assert not list(unmet(plan, frozenset({"then/0"}), frozenset({"work/0"})))
    assert not list(unmet(plan, frozenset({"then/0", "work/0"}), frozenset()))


def test_a_part_has_its_own_hosts_and_steps_alone() -> None:
    plan = part(sample(), {"swept/0/1"})
    assert [run.id for run in plan.runs] == ["swept/0/1"]
    assert list(plan.hosts) == ["n1"]
    assert {step.run for step in plan.steps} == {"swept/0/1"}
