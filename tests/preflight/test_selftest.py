"""Self-tests: which runs they are, how hosts are compared, and what a failure stops."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from compiler.diagnostics.codes import code_of
from compiler.plan.build import build_plan
from compiler.plan.model import Plan
from compiler.plan.support import not_executable
from compiler.resources import host_code
from compiler.schema import store
from tests.plan.samples import case, entry, inventory, scenario

host_code()

from deepep_host.selftest import compare, lines  # noqa: E402
from deepep_host.session import Session, gate  # noqa: E402


def plan_of(*entries: Any, **settings: Any) -> Plan:
    """Returns a plan with self-tests; no finding is an error."""
    plan, findings = build_plan(scenario(*entries), inventory(**settings), selftest=True)
    assert plan is not None, findings
    return plan


def test_every_host_gets_one_run_of_its_own_before_the_others() -> None:
    plan = plan_of(entry("a", case(num_nodes=2)), entry("b", case(num_nodes=3)))
    assert list(plan.selftest.values()) == [f"selftest.{host}/0" for host in plan.hosts]
    alone = plan.runs[: len(plan.selftest)]
    assert [(run.id, run.hosts, run.world_size) for run in alone] == [
        (f"selftest.{host}/0", (host,), run.ranks_per_host)
        for host, run in zip(plan.hosts, alone, strict=True)
    ]
    assert {run.test_definition["name"] for run in alone} == {plan.runs[-1].test_definition["name"]}
    assert "--nnodes=1" in alone[0].argv
    # They are played by a file of their own, not by the schedule.
    assert not {step.run for step in plan.steps} & set(plan.selftest.values())
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan


def test_without_it_the_plan_says_nothing_of_it() -> None:
    plan, _ = build_plan(scenario(entry("a")), inventory())
    assert plan is not None
    assert "selftest" not in plan.head_to_json()


def test_a_sweep_and_the_profiler_do_not_reach_the_self_test() -> None:
    swept = replace(case(num_nodes=2, use_kineto_profiler=True), step=1, sweep={"cmd_args.tokens": 64})
    run = plan_of(entry("a", swept)).runs[0]
    assert (run.step, dict(run.sweep), run.expect.traces) == (None, {}, 0)


def test_arguments_that_one_host_cannot_run_are_passed_over() -> None:
    """Standard mode of V1 on one host takes at most 128 experts per rank."""
    settings = {"deepep_backend": "deepep_v1", "deepep_gpus_per_node": 8}
    big = entry("big", case(num_nodes=2, num_experts=2048))
    plan, findings = build_plan(scenario(big), inventory(**settings), selftest=True)
    assert code_of("selftest-impossible").code in [found.code for found in findings]
    plan = plan_of(big, entry("small", case(num_nodes=2, num_experts=256)), **settings)
    assert [run.config["num_experts"] for run in plan.runs if run.id.startswith("selftest.")] == [256, 256]


def test_slurm_and_clashing_names_are_refused() -> None:
    plan = replace(plan_of(entry("a")), launcher="slurm")
    assert [found.code for found in not_executable(plan)] == [code_of("selftest-impossible").code]
    _, findings = build_plan(scenario(entry("selftest.x")), inventory(), selftest=True)
    assert [found.code for found in findings] == [code_of("selftest-impossible").code]


FACTS: dict[str, Any] = {
    "program": "bundled",
    "backend": "gloo",
    "mode": "standard",
    "container_runtime": "none",
    "ranks_per_host": 1,
    "config": {},
    "env": {},
    "image": None,
    "after": [],
}


def tree(
    folder: Path, times: dict[str, float | None], verdicts: dict[str, str] | None = None
) -> dict[str, Any]:
    """Writes verdicts of self-tests with these dispatch times, s; returns a plan."""
    runs = []
    for host, time in times.items():
        key = f"selftest.{host}/0"
        verdict = (verdicts or {}).get(host, "PASS")
        record = {"operation": "dispatch", "variant": None, "baseline": False, "deepep_time": time}
        baseline = {"operation": "all_to_all", "variant": None, "baseline": True, "deepep_time": 9.0}
        reasons = [] if verdict == "PASS" else [{"text": f"{host} broke"}]
        path = folder / key
        path.mkdir(parents=True)
        (path / "verdict.json").write_text(
            json.dumps({"verdict": verdict, "reasons": reasons, "operations": [record, baseline]})
        )
        runs.append({**FACTS, "id": key, "hosts": [{"name": host}]})
    both = {**FACTS, "id": "both/0", "hosts": [{"name": host} for host in times]}
    return {"runs": [*runs, both], "selftest": {host: f"selftest.{host}/0" for host in times}}


def looked(folder: Path, *arguments: Any) -> dict[str, Any]:
    """Compares, and checks the result against its schema."""
    found = compare(folder, tree(folder, *arguments))
    jsonschema.Draft202012Validator(store.load("selftest")).validate(found)
    return found


def test_a_slow_host_is_named(tmp_path: Path) -> None:
    times = {f"n{number}": 1e-3 + number * 1e-6 for number in range(8)}
    found = looked(tmp_path, {**times, "n5": 1.3e-3})
    assert [(one["host"], one["is"], one["percent"]) for one in found["outliers"]] == [("n5", "slower", 29.5)]
    assert "  slower    n5  dispatch takes 1300.0 us, 29.5 % slower than the median" in lines(found)


def test_one_that_is_too_fast_is_named_too(tmp_path: Path) -> None:
    times = {f"n{number}": 1e-3 + number * 1e-6 for number in range(8)}
    assert looked(tmp_path, {**times, "n5": 0.5e-3})["outliers"][0]["is"] == "faster"


@pytest.mark.parametrize("share", [1.0, 1.04])
def test_small_differences_are_no_fault(tmp_path: Path, share: float) -> None:
    times = {f"n{number}": 1e-3 for number in range(8)}
    assert looked(tmp_path, {**times, "n5": share * 1e-3})["outliers"] == []


def test_hosts_that_differ_anyway_have_no_outlier(tmp_path: Path) -> None:
    times = dict(zip("abcdefgh", [1.0, 1.2, 0.9, 1.4, 0.8, 1.1, 1.3, 1.45], strict=True))
    assert looked(tmp_path, times)["outliers"] == []


@pytest.mark.parametrize(
    ("times", "slow"),
    [
        ({"a": 1.00, "b": 1.04, "c": 1.0, "d": 2.0}, ["d"]),
        ({"a": 1.00, "b": 2.00, "c": 1.0, "d": 2.0}, ["b", "d"]),
        ({"a": 1.00, "b": 1.04, "c": 1.2}, ["c"]),
        ({"a": 1.00, "b": 1.04, "c": 1.1}, []),
    ],
)
def test_three_and_four_hosts_are_held_against_their_median(
    tmp_path: Path, times: dict[str, float | None], slow: list[str]
) -> None:
    found = looked(tmp_path, times)
    assert [one["host"] for one in found["outliers"]] == slow
    assert {(one["is"], one["score"]) for one in found["outliers"]} <= {("slower", None)}
    assert found["groups"][0]["note"] is None


def test_failed_hosts_do_not_count_and_the_extremes_are_named(tmp_path: Path) -> None:
    times = {"a": 2e-3, "b": 1e-3, "c": 1e-3, "d": 5e-3, "e": 0.5e-3}
    found = looked(tmp_path, times, {"e": "FAIL"})
    assert found["failed"] == ["e"]
    text = "\n".join(lines(found))
    assert "failed    e  FAIL: e broke" in text
    assert "dispatch: 1000.0 us (b) to 5000.0 us (d), median 1000.0 us" in text


@pytest.mark.parametrize(("slower", "noted"), [(1.3, True), (1.05, False)])
def test_of_two_hosts_it_is_said_how_far_they_differ(tmp_path: Path, slower: float, noted: bool) -> None:
    found = looked(tmp_path, {"a": slower * 1e-3, "b": 1e-3})
    assert found["outliers"] == []
    note = (
        "dispatch takes 30.0 % longer on a than on b: of two hosts nothing tells which one is at fault"
        if noted
        else None
    )
    assert found["groups"][0]["note"] == note
    assert f"  dispatch: 1000.0 us (b) to {1000 * slower:.1f} us (a), median" in "\n".join(lines(found))


def test_a_single_host_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    assert "no other host" in looked(tmp_path, {"a": 1e-3})["groups"][0]["note"]


def test_a_host_that_failed_stops_the_runs_that_need_it(tmp_path: Path) -> None:
    plan = tree(tmp_path, {"a": 1.0, "b": 1.0}, {"b": "FAIL"})
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    session = Session("r", str(tmp_path), "s", "b")
    refused = gate(session, plan["runs"][-1])
    assert refused == {
        "reason": "host b did not pass its self-test: FAIL: b broke",
        "because": "selftest.b/0",
    }
    # Its own self-test is not stopped by itself, and a run without it may start.
    assert gate(session, plan["runs"][1]) is None
    assert gate(session, {**plan["runs"][-1], "hosts": [{"name": "a"}]}) is None
