"""Hooks in the plan: before and after each run, on its first hosts, below its directory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
from referencing import Registry, Resource

from compiler.plan.build import build_plan
from compiler.plan.model import Plan
from compiler.plan.selection import complete, named, part
from compiler.resources import resource
from compiler.scenario.model import Entry
from tests.plan.samples import case, entry, inventory, scenario


def plan_of(*entries: Entry, pre: tuple[Entry, ...] = (), post: tuple[Entry, ...] = ()) -> Plan:
    """Returns the plan of these entries with hooks."""
    plan, found = build_plan(replace(scenario(*entries), pre_test=pre, post_test=post), inventory())
    assert plan is not None, found
    return plan


QUICK = entry("quick", case(num_nodes=None), test_name="quick")
BOTH = entry("both", case(num_nodes=2), test_name="on two")
LAST = entry("last", case(num_nodes=1), test_name="quick")


def test_hooks_surround_every_run_of_every_entry() -> None:
    plan = plan_of(entry("A", iterations=2), pre=(QUICK, BOTH), post=(LAST,))
    one, two = (
        [f"A/{n}/pre_test/quick", f"A/{n}/pre_test/both", f"A/{n}", f"A/{n}/post_test/quick"] for n in (0, 1)
    )
    assert [run.id for run in plan.runs] == one + two
    assert [(step.verb.value, step.run) for step in plan.steps[:3]] == [
        (verb, "A/0/pre_test/quick") for verb in ("start", "await", "finish")
    ]
    assert len(list(plan.groups_of_steps())) == 8


def test_a_hook_runs_on_the_first_hosts_of_its_run() -> None:
    runs = {run.id: run for run in plan_of(entry("A"), pre=(QUICK, BOTH)).runs}
    assert runs["A/0"].hosts == ("n1", "n2")
    assert runs["A/0/pre_test/quick"].hosts == ("n1",)
    assert runs["A/0/pre_test/both"].hosts == ("n1", "n2")
    assert runs["A/0/pre_test/quick"].why_hosts == "the first 1 of the 2 of A/0"
    assert runs["A/0/pre_test/quick"].entry == "A/pre_test/quick"


def test_a_run_needs_its_hook_and_the_one_after_follows_it() -> None:
    runs = {run.id: run for run in plan_of(entry("A"), pre=(QUICK,), post=(LAST,)).runs}
    assert [(one.type, one.run) for one in runs["A/0"].after] == [("pre_test", "A/0/pre_test/quick")]
    assert [(one.type, one.run) for one in runs["A/0/post_test/quick"].after] == [("post_test", "A/0")]
    assert runs["A/0/pre_test/quick"].after == ()


def test_a_hook_that_needs_more_hosts_than_the_run_has() -> None:
    made = replace(scenario(entry("A", case(num_nodes=1), iterations=2)), pre_test=(BOTH,))
    plan, found = build_plan(made, inventory())
    assert plan is None
    assert [one.message for one in found] == ["pre_test: both needs 2 hosts, A has 1"]


def test_a_background_run_has_its_hooks_before_its_start_and_after_its_end() -> None:
    load = entry("load", case(num_nodes=1), nodes=(), after=[("end_post_comp", "work")])
    work = entry("work", case(num_nodes=1), after=[("start_post_init", "load")])
    steps = [f"{step.verb.value} {step.run}" for step in plan_of(load, work, post=(LAST,)).steps]
    assert steps == [
        "start load/0", "start work/0", "await work/0", "finish work/0",
        *(f"{verb} work/0/post_test/quick" for verb in ("start", "await", "finish")),
        "stop load/0", "finish load/0",
        *(f"{verb} load/0/post_test/quick" for verb in ("start", "await", "finish")),
    ]  # fmt: skip


def test_the_plan_with_hooks_fits_its_schema_and_comes_back() -> None:
    plan = plan_of(entry("A"), pre=(QUICK,), post=(LAST,))
    schemas = [json.loads(path.read_text()) for path in Path(resource("schemas")).glob("*.json")]
    registry = Registry().with_resources([(one["$id"], Resource.from_contents(one)) for one in schemas])
    schema = next(one for one in schemas if one["$id"] == "plan.schema.json")
    jsonschema.Draft202012Validator(schema, registry=registry).validate(plan.to_json())
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_a_repeated_run_takes_its_hooks_along_but_a_hook_after_it_can_be_repeated_alone() -> None:
    plan = plan_of(entry("A"), entry("B"), pre=(QUICK,), post=(LAST,))
    chosen = complete(plan, {"A/0"})
    assert chosen.runs == {"A/0", "A/0/pre_test/quick", "A/0/post_test/quick"}
    assert complete(plan, {"A/0/post_test/quick"}).runs == {"A/0/post_test/quick"}
    assert named(plan, ["A"]) == (chosen.runs, [])
    assert [run.id for run in part(plan, chosen.runs).runs] == [
        "A/0/pre_test/quick", "A/0", "A/0/post_test/quick",
    ]  # fmt: skip
