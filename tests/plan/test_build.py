"""Scenario and inventory in, plan out."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from compiler.diagnostics.codes import code_of
from compiler.diagnostics.model import Diagnostic, Severity
from compiler.inventory.model import Inventory
from compiler.plan.build import DEFAULT_TIME_LIMIT_S, build_plan
from compiler.plan.model import Container, ImageSource, Join, Plan, Run, Variable
from compiler.plan.support import not_executable
from compiler.resources import host_code
from compiler.scenario.model import Entry
from compiler.schema.store import load, properties
from tests.plan.samples import LOCAL, case, entry, inventory, of_hostvars, scenario


def plan_of(*entries: Entry, hosts: Inventory | None = None) -> Plan:
    plan, findings = build_plan(scenario(*entries), hosts or inventory())
    assert plan is not None, findings
    return plan


def run_of(*entries: Entry, hosts: Inventory | None = None) -> Run:
    return plan_of(*entries, hosts=hosts).runs[0]


def refused(*entries: Entry, hosts: Inventory | None = None) -> list[Diagnostic]:
    plan, findings = build_plan(scenario(*entries), hosts or inventory())
    assert plan is None
    return [found for found in findings if found.severity is Severity.ERROR]


def slugs(findings: list[Diagnostic]) -> list[str]:
    return [code.slug for found in findings if (code := code_of(found.code))]


def everything() -> Plan:
    """A plan that has something in every field."""
    swept = [case(step, env={"A": "b\n{{ c }}"}, tokens=step, use_kineto_profiler=True) for step in (1, 2)]
    return plan_of(
        entry("first", iterations=2, extra_cmd_args={"--seed": "7"}),
        entry("swept", *swept, nodes=["GAIA:standard_nodes:2"], after=[("start_post_comp", "first")]),
        entry("load", nodes=["n4"], after=[("end_post_comp", "main")]),
        entry("main", nodes=["n1"], after=[("start_post_init", "load")]),
        hosts=inventory(
            deepep_iterations_cap=5, deepep_master_interface="eth0", deepep_env={"A": "inventory"}
        ),
    )


def test_the_plan_fits_its_schema() -> None:
    schema: dict[str, Any] = dict(load("plan"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(everything().to_json(), schema)


def test_the_schema_is_strict() -> None:
    data: dict[str, Any] = json.loads(json.dumps(everything().to_json()))
    data["runs"][0]["extra"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, dict(load("plan")))


def test_json_and_back() -> None:
    plan = everything()
    data = json.loads(json.dumps(plan.to_json()))
    assert Plan.from_json(data) == plan
    data["schema"] = 99
    with pytest.raises(ValueError, match="version 99"):
        Plan.from_json(data)


def test_ids_are_directories() -> None:
    assert [run.id for run in everything().runs] == [
        "first/0",
        "first/1",
        "swept/0/1",
        "swept/0/2",
        "load/0",
        "main/0",
    ]


def test_hosts_come_from_one_choice() -> None:
    plan = everything()
    for run in plan.to_json()["runs"]:  # type: ignore[attr-defined]
        hosts = run["hosts"]
        assert run["world_size"] == len(hosts) * run["ranks_per_host"] == run["expect"]["world_size"]
        assert f"--nnodes={len(hosts)}" in run["argv"]
        assert f"--nproc-per-node={run['ranks_per_host']}" in run["argv"]
        assert [host["node_rank"] for host in hosts] == list(range(len(hosts)))
        assert {host["name"] for host in hosts} <= set(plan.hosts)


def test_only_hosts_in_use_are_in_the_plan() -> None:
    assert list(plan_of(entry("a", nodes=["n3", "n2"])).hosts) == ["n2", "n3"]


def test_the_command_of_the_bundled_program() -> None:
    run = run_of(entry("a", extra_cmd_args={"--seed": "3"}), hosts=inventory(deepep_rendezvous_timeout_s=7))
    assert run.argv == (
        Join((Variable.PYTHON,)),
        "-m",
        "torch.distributed.run",
        "--nnodes=2",
        "--nproc-per-node=2",
        Join(("--node-rank=", Variable.NODE_RANK)),
        Join(("--master-addr=", Variable.MASTER_ADDR)),
        Join(("--master-port=", Variable.MASTER_PORT)),
        "--rdzv-backend=static",
        "--rdzv-conf=timeout=7",
        "--max-restarts=0",
        "--monitor-interval=0.5",
        Join((Variable.PROGRAM_DIR, "/deepep_bench")),
        Join(("--config=", Variable.RUN_DIR, "/config.yaml")),
        Join(("--output-dir=", Variable.RUN_DIR)),
        "--seed=3",
    )


def test_the_command_of_an_image() -> None:
    hosts = inventory(
        deepep_program="image", deepep_container_runtime="docker", deepep_container_mounts=["/a:/b:ro"]
    )
    low_latency = case(mode="low_latency", docker_image_url="registry#team/image:tag")
    made = entry(
        "a", low_latency, extra_cmd_args={"--flag": "", "key": "$(x) y"}, extra_container_mounts=("/c:/d",)
    )
    run = run_of(made, hosts=hosts)
    assert run.argv[0] == "torchrun"
    assert "--nproc-per-node=1" in run.argv
    assert run.argv[-4:] == (
        "/workspace/dp-benchmark/benchmark/benchmark_ll.py",
        "/tmp/config.yaml",  # noqa: S108
        "--flag",
        "key=$(x) y",
    )
    assert run.mounts == (
        Join((Variable.RUN_DIR, "/config.yaml:", "/tmp/config.yaml", ":ro")),  # noqa: S108
        Join((Variable.RUN_DIR, "/results:", "/workspace/dp-benchmark/results")),
        "/a:/b:ro",
        "/c:/d",
    )
    assert list(run.config)[-1] == "num_iterations"
    assert run.image == "registry#team/image:tag"
    assert run.image_source == ImageSource("registry", "registry/team/image:tag", "registry")
    assert run.container == Container(True, False, (), ())


def test_the_inventory_changes_the_container() -> None:
    hosts = inventory(
        deepep_container_runtime="enroot",
        deepep_container_privileged=False,
        deepep_container_entrypoint="yes",
        deepep_container_without=["gpus"],
        deepep_container_options=["--env=A"],
        deepep_jit_cache_dir="/local/jit",
    )
    run = run_of(entry("a", case(docker_image_url="/images/a.sqsh")), hosts=hosts)
    assert run.container == Container(False, True, ("gpus",), ("--env=A",))
    assert run.image_source == ImageSource("squashfs", "/images/a.sqsh", None)
    assert Run.from_json(run.to_json()) == run


def test_the_names_of_the_containers_defaults_are_those_that_the_inventory_may_leave_out() -> None:
    host_code()
    from deepep_host.container_defaults import NAMES

    allowed = properties("inventory")["deepep_container_without"]["items"]["enum"]  # type: ignore[index,call-overload]
    assert sorted(allowed) == sorted(NAMES)


def test_config_has_cloudais_keys_in_its_order_and_ours_after_them() -> None:
    assert list(run_of(entry("a")).config) == [
        "tokens", "num_experts", "num_topk", "hidden_size", "data_type", "allow_nvlink_for_low_latency",
        "allow_mnnvl", "round_scale", "use_ue8m0", "shuffle_columns", "use_kineto_profiler", "num_warmups",
        "num_iterations", "mode", "backend", "seed", "process_group_timeout_s",
    ]  # fmt: skip


def test_automatic_values_are_left_out() -> None:
    assert "num_sms" not in run_of(entry("a")).config
    assert run_of(entry("a", case(num_sms=24))).config["num_sms"] == 24


def test_caps_are_recorded_where_they_bite() -> None:
    hosts = inventory(deepep_iterations_cap=10, deepep_warmups_cap=0)
    run = run_of(entry("a", case(num_iterations=50, num_warmups=3)), hosts=hosts)
    assert (run.config["num_iterations"], run.config["num_warmups"]) == (10, 0)
    assert run.config_requested == {"num_warmups": 3, "num_iterations": 50}
    assert (run.config["requested_num_iterations"], run.config["requested_num_warmups"]) == (50, 3)
    run = run_of(entry("a", case(num_iterations=10, num_warmups=0)), hosts=hosts)
    assert run.config_requested == {}
    assert "requested_num_iterations" not in run.config


def test_environment_precedence() -> None:
    hosts = inventory(deepep_env={"A": "inventory", "B": "inventory"}, deepep_master_interface="ib0")
    env = run_of(entry("a", case(env={"A": "test", "OMP_NUM_THREADS": "4"})), hosts=hosts).env
    assert env["A"] == "test"
    assert env["B"] == "inventory"
    assert env["OMP_NUM_THREADS"] == "4"
    assert env["PYTHONUNBUFFERED"] == "1"
    assert {env[name] for name in env if name.endswith("IFNAME")} == {"ib0"}
    assert not [name for name in run_of(entry("a")).env if name.endswith("IFNAME")]


def test_the_backend_of_a_test_wins() -> None:
    assert run_of(entry("a")).backend == "gloo"
    assert run_of(entry("a", case(backend="nccl"))).backend == "nccl"


def test_time_limit() -> None:
    assert run_of(entry("a", time_limit_s=90)).time_limit_s == 90
    assert run_of(entry("a", time_limit_s=None)).time_limit_s == DEFAULT_TIME_LIMIT_S


def test_dependencies_name_runs() -> None:
    runs = {run.id: run.after for run in everything().runs}
    assert [(after.type, after.run) for after in runs["swept/0/2"]] == [
        ("start_post_comp", "first/0"),
        ("start_post_comp", "first/1"),
    ]
    assert [(after.type, after.run) for after in runs["load/0"]] == [("end_post_comp", "main/0")]


def test_what_is_expected_back() -> None:
    run = run_of(entry("a", case(use_kineto_profiler=True)))
    assert run.expect.traces == 4
    assert run.expect.operations == ("dispatch", "combine")
    assert run_of(entry("a")).expect.traces == 0


def test_the_definition_is_that_of_the_point() -> None:
    plan = plan_of(entry("a", case(1, tokens=1), case(2, tokens=2, env={"X": "y"})))
    definition: Any = plan.runs[1].test_definition
    assert definition["cmd_args"]["tokens"] == 2
    assert definition["extra_env_vars"] == {"X": "y"}
    assert definition["name"] == "test of a"


def test_a_sweep_over_num_nodes() -> None:
    plan = plan_of(entry("a", case(1, num_nodes=1), case(2, num_nodes=4)))
    assert [run.hosts for run in plan.runs] == [("n1",), ("n1", "n2", "n3", "n4")]


def test_overlapping_entries_get_different_hosts_by_count() -> None:
    plan = plan_of(
        entry("load", case(num_nodes=2)),
        entry("main", nodes=["n1"], after=[("start_post_init", "load")]),
        entry("later", case(num_nodes=2)),
    )
    hosts = {run.entry: run.hosts for run in plan.runs}
    assert hosts == {"load": ("n2", "n3"), "main": ("n1",), "later": ("n1", "n2")}


def test_overlapping_entries_that_name_the_same_host() -> None:
    findings = refused(
        entry("a", nodes=["n1"]), entry("b", nodes=["n[1-2]"], after=[("start_post_init", "a")])
    )
    assert slugs(findings) == ["hosts-shared"]
    assert "both use n1" in findings[0].message


def test_overlapping_entries_that_need_too_many_hosts() -> None:
    findings = refused(
        entry("a", case(num_nodes=3, num_experts=12)),
        entry("b", case(num_nodes=2), after=[("start_post_init", "a")]),
    )
    assert slugs(findings) == ["too-few-hosts"]
    assert "busy" in findings[0].message


def test_experts_must_divide_over_the_ranks() -> None:
    """A kernel's limit is an error that the user may switch off: the plan is there all the same."""
    plan, findings = build_plan(scenario(entry("a", case(num_experts=18))), inventory())
    assert plan is not None
    assert slugs(findings) == ["experts-not-divisible"]
    assert (
        "18 experts cannot be split over 4 ranks (2 hosts \N{MULTIPLICATION SIGN} 2)" in findings[0].message
    )
    assert findings[0].fix == "use 16 or 20 experts, or run on 1 or 3 hosts"


def test_the_same_finding_of_many_runs_is_told_once() -> None:
    cases = [case(step, num_experts=18, tokens=step) for step in range(1, 20)]
    assert len(build_plan(scenario(entry("a", *cases, iterations=3)), inventory())[1]) == 1


@pytest.mark.parametrize(
    ("made", "hosts", "slug", "says"),
    [
        (entry("a", extra_cmd_args={"--sed": "1"}), inventory(), "unknown-extra-cmd-arg", "--sed"),
        (entry("a"), inventory(deepep_container_runtime="podman"), "missing-image", "a has no image"),
        (
            entry("a"),
            inventory(deepep_python=None),
            "missing-inventory-setting",
            "hosts n1, n2: deepep_python",
        ),
        (
            entry("a"),
            inventory(deepep_program="image", deepep_backend="deepep", deepep_gpus_per_node=8),
            "settings-contradict",
            "deepep_program is image",
        ),
        (entry("a"), inventory(("x y", "../z")), "unsafe-host-name", "x y, ../z"),
        (
            entry("a"),
            of_hostvars({"n1": LOCAL, "n2": {**LOCAL, "deepep_backend": "nccl"}}),
            "settings-disagree",
            "deepep_backend is 'gloo' on n1 and 'nccl' on n2",
        ),
    ],
)
def test_refused(made: Entry, hosts: Inventory, slug: str, says: str) -> None:
    findings = refused(made, hosts=hosts)
    assert slugs(findings) == [slug]
    assert says in findings[0].message
    assert findings[0].fix


def test_a_jobs_first_host_has_no_address_yet() -> None:
    own = {**LOCAL, "deepep_launcher": "slurm", "deepep_master_address": "192.0.2.7"}
    findings = refused(entry("a"), hosts=of_hostvars({"n1": own, "n2": own}))
    (found,) = [one for one in findings if "deepep_master_address" in one.message]
    assert (slugs([found]), found.fix) == (["settings-contradict"], "set deepep_master_interface")


def test_settings_may_differ_between_runs_and_paths_between_hosts() -> None:
    hosts = of_hostvars(
        {"n1": LOCAL, "n2": {**LOCAL, "deepep_backend": "nccl", "deepep_python": "/other/python"}}
    )
    plan = plan_of(entry("a", nodes=["n1"]), entry("b", nodes=["n2"]), hosts=hosts)
    assert [run.backend for run in plan.runs] == ["gloo", "nccl"]
    same = of_hostvars({"n1": LOCAL, "n2": {**LOCAL, "deepep_python": "/other/python"}})
    assert plan_of(entry("a"), hosts=same)


def test_one_launcher_per_scenario() -> None:
    hosts = of_hostvars({"n1": LOCAL, "n2": {**LOCAL, "deepep_launcher": "slurm"}})
    findings = refused(entry("a", nodes=["n1"]), entry("b", nodes=["n2"]), hosts=hosts)
    assert slugs(findings) == ["settings-disagree"]


def test_errors_of_all_entries_in_one_go() -> None:
    findings = refused(
        entry("a", nodes=["nope"]), entry("b", case(num_experts=18)), entry("c", extra_cmd_args={"x": ""})
    )
    assert slugs(findings) == ["unknown-host", "experts-not-divisible", "unknown-extra-cmd-arg"]


def test_nothing_is_ignored_in_silence() -> None:
    made = entry("a", case(docker_image_url="r#i:t"), extra_container_mounts=("/a:/b",))
    plan, findings = build_plan(scenario(made), inventory(deepep_env={"MASTER_ADDR": "x"}))
    assert plan is not None
    assert sorted(slugs(findings)) == [
        "env-overridden",
        "image-without-container",
        "mounts-without-container",
    ]
    assert plan.runs[0].mounts == ()


def test_what_cannot_run_yet_is_planned_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    table = [("deepep_backend", lambda plan, run: run.backend, ("nccl",))]
    monkeypatch.setattr("compiler.plan.support.RUNS_TODAY", table)
    plan = plan_of(entry("a", iterations=2))
    (message,) = [found.message for found in not_executable(plan)]
    assert "deepep_backend = 'gloo'" in message
    assert "(a/0 and 1 more runs)" in message
    assert not_executable(plan_of(entry("a", case(backend="nccl")))) == []
