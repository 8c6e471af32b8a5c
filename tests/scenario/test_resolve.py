from __future__ import annotations

from pathlib import Path

import pytest

from compiler.scenario.load import load_scenario
from compiler.scenario.model import Arguments, DependencyType
from tests.conftest import REPO
from tests.scenario.builder import TEST, entry, load

DEFAULTS = Arguments(
    docker_image_url=None,
    mode="standard",
    tokens=1024,
    num_experts=256,
    num_topk=8,
    hidden_size=7168,
    data_type="bfloat16",
    allow_nvlink_for_low_latency=False,
    allow_mnnvl=False,
    round_scale=False,
    use_ue8m0=False,
    num_warmups=20,
    num_iterations=50,
    shuffle_columns=False,
    use_kineto_profiler=False,
    num_sms=None,
    num_qps_per_rank=None,
    config_file_path="/tmp/config.yaml",  # noqa: S108 - in the container
    results_dir="/workspace/dp-benchmark/results",
    backend=None,
    seed=0,
    routing="uniform",
    num_groups=None,
    num_topk_groups=None,
    imbalance=None,
    routing_trace=None,
    use_logfmt=False,
    enable_tuning=False,
    dispatch_chunks=None,
    combine_chunks=None,
)


def test_defaults_are_the_formats(tmp_path: Path) -> None:
    (one,) = load(tmp_path, entry()).ok.entries
    assert [case.arguments for case in one.cases] == [DEFAULTS]
    assert (one.iterations, one.time_limit_s, one.nodes, one.cases[0].num_nodes) == (1, 1800, (), None)
    assert one.cases[0].step is None


def test_the_scenario_wins_table_by_table(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        entry(
            'extra_container_mounts = ["/c:/d"]\n'
            "cmd_args.tokens = 7\n[Tests.extra_env_vars]\nB = 'scenario'\nC = 'scenario'"
        ),
        "extra_container_mounts = ['/a:/b', '/x:/y']\nextra_cmd_args = {'--flag' = ''}\n"
        "[cmd_args]\ntokens = 1\nhidden_size = 64\n[extra_env_vars]\nA = 'test'\nB = 'test'\n",
    )
    (one,) = loaded.ok.entries
    arguments = one.cases[0].arguments
    assert (arguments.tokens, arguments.hidden_size) == (7, 64)
    assert list(one.cases[0].env.items()) == [("A", "test"), ("B", "scenario"), ("C", "scenario")]
    assert one.extra_container_mounts == ("/c:/d",)
    assert one.extra_cmd_args == {"--flag": ""}
    assert one.test_file == tmp_path / "tests" / "standard.toml"
    assert one.definition["extra_env_vars"] == {"A": "test", "B": "scenario", "C": "scenario"}


def test_sweep_order_is_arguments_of_the_schema_then_environment_then_hosts(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        entry("num_nodes = [1, 2]\ncmd_args.mode = ['standard', 'low_latency']"),
        "[cmd_args]\nnum_experts = [8, 16]\n[extra_env_vars]\nX = ['a', 'b']\nY = 'fixed'\n",
    )
    (one,) = loaded.ok.entries
    assert len(one.cases) == 16
    assert [case.step for case in one.cases] == list(range(1, 17))
    assert list(one.cases[0].sweep) == [
        "cmd_args.mode",
        "cmd_args.num_experts",
        "extra_env_vars.X",
        "num_nodes",
    ]
    assert [tuple(case.sweep.values()) for case in one.cases[:5]] == [
        ("standard", 8, "a", 1),
        ("standard", 8, "a", 2),
        ("standard", 8, "b", 1),
        ("standard", 8, "b", 2),
        ("standard", 16, "a", 1),
    ]
    last = one.cases[-1]
    assert (last.arguments.mode, last.arguments.num_experts, last.num_nodes) == ("low_latency", 16, 2)
    assert last.env == {"X": "b", "Y": "fixed"}


@pytest.mark.parametrize("argument", list(Arguments.__dataclass_fields__))
def test_every_argument_can_be_swept(tmp_path: Path, argument: str) -> None:
    values = {
        "docker_image_url": '["a", "b"]',
        "mode": '["standard", "low_latency"]',
        "data_type": '["bfloat16", "fp8"]',
        "config_file_path": '["/a", "/b"]',
        "results_dir": '["/a", "/b"]',
        "backend": '["nccl", "gloo"]',
        "routing": '["uniform", "unbalanced"]',
        "routing_trace": '["/a", "/b"]',
        "dispatch_chunks": '["16", "20/16"]',
        "combine_chunks": '["4", "8"]',
    }
    if isinstance(getattr(DEFAULTS, argument), bool):
        values[argument] = "[false, true]"
    text = f"[cmd_args]\nround_scale = true\n{argument} = {values.get(argument, '[16, 32]')}\n"
    if argument == "round_scale":
        text = text.replace("round_scale = true\n", "")
    (one,) = load(tmp_path, entry(), text.replace("num_topk = [16, 32]", "num_topk = [4, 8]")).ok.entries
    assert len(one.cases) == 2
    first, second = (getattr(case.arguments, argument) for case in one.cases)
    assert first != second


def test_one_value_in_a_list_is_a_sweep_of_one_point(tmp_path: Path) -> None:
    (one,) = load(tmp_path, entry("cmd_args.tokens = [64]")).ok.entries
    assert [(case.step, case.sweep) for case in one.cases] == [(1, {"cmd_args.tokens": 64})]


def test_nodes_as_text_and_as_list(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        entry('nodes = "GAIA:standard_nodes:2"')
        + entry('nodes = ["n[01-02]", "n04"]\nexclude_nodes = ["n04"]', id="B"),
    )
    one, two = loaded.ok.entries
    assert [(spec.text, spec.place.path) for spec in one.nodes] == [
        ("GAIA:standard_nodes:2", ("Tests", 0, "nodes"))
    ]
    assert [(spec.text, spec.place.path) for spec in two.nodes] == [
        ("n[01-02]", ("Tests", 1, "nodes", 0)),
        ("n04", ("Tests", 1, "nodes", 1)),
    ]
    assert [spec.text for spec in two.exclude_nodes] == ["n04"]


def test_dependencies_keep_all_of_one_type(tmp_path: Path) -> None:
    depends = "".join(f"[[Tests.dependencies]]\ntype = 'start_post_comp'\nid = '{name}'\n" for name in "AB")
    loaded = load(tmp_path, entry() + entry(id="B") + entry(depends, id="C"))
    assert [(one.type, one.id) for one in loaded.ok.entries[2].dependencies] == [
        (DependencyType.START_POST_COMP, "A"),
        (DependencyType.START_POST_COMP, "B"),
    ]


def test_two_entries_may_use_one_test(tmp_path: Path) -> None:
    loaded = load(tmp_path, entry() + entry("cmd_args.tokens = 5", id="B"))
    assert [one.cases[0].arguments.tokens for one in loaded.ok.entries] == [1024, 5]


def test_the_seed_pages_examples() -> None:
    scenario, found = load_scenario(REPO / "examples" / "deepep-benchmark" / "scenario.toml", None)
    assert found == []
    assert scenario is not None
    standard, low_latency = scenario.entries
    assert (scenario.name, standard.id, standard.test_name) == (
        "deepep-benchmark",
        "Tests.1",
        "deepep_standard",
    )
    assert standard.time_limit_s == 1800
    assert standard.cases[0].num_nodes == 2
    assert (standard.cases[0].arguments.mode, standard.cases[0].arguments.num_topk) == ("standard", 8)
    assert (low_latency.cases[0].arguments.mode, low_latency.cases[0].arguments.num_topk) == (
        "low_latency",
        1,
    )
    assert low_latency.cases[0].arguments.num_warmups == 20


def test_the_seed_pages_test_in_scenario() -> None:
    path = REPO / "examples" / "test-in-scenario" / "scenario.toml"
    scenario, found = load_scenario(path, None)
    assert found == []
    assert scenario is not None
    (one,) = scenario.entries
    assert (one.test_name, one.description, one.test_file) == (
        "deepep_standard",
        "DeepEP MoE Benchmark",
        path,
    )
    assert [spec.text for spec in one.nodes] == ["GAIA:standard_nodes:2"]
    assert one.cases[0].arguments.tokens == 1024
    assert one.cases[0].arguments.docker_image_url is not None


def test_strings_reach_the_scenario_unchanged(tmp_path: Path) -> None:
    value = "a'b\"c $(id) `id` {{ x }} {% y %} \n\t\\ 漢 " + "x" * 10_000
    literal = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    loaded = load(tmp_path, entry(f'extra_env_vars.X = "{literal}"\ndescription = "{literal}"'))
    (one,) = loaded.ok.entries
    assert one.cases[0].env["X"] == value
    assert one.description == value
    assert loaded.slugs == ["shell-in-env"]


def test_a_broken_test_file_hides_nothing(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        entry("iterations = 0") + entry(id="B", test="broken") + entry(id="C", test="nowhere"),
        "[cmd_args]\ntokens = -1\n",
        broken='name = "broken"\ndescription = "x\n',
    )
    assert loaded.scenario is None
    assert loaded.rows == [
        ("out-of-range", "scenario.toml", 6, 14),
        ("unknown-test-name", "scenario.toml", 14, 13),
        ("syntax-error", "broken.toml", 2, 17),
        ("out-of-range", "standard.toml", 5, 10),
    ]


def test_an_unused_test_with_errors_stops_the_scenario(tmp_path: Path) -> None:
    loaded = load(tmp_path, entry(), other=TEST.replace("standard", "other") + "[cmd_args]\ntokens = 'x'\n")
    assert loaded.scenario is None
    assert loaded.slugs == ["wrong-type"]


def test_tests_are_toml_files_directly_in_the_folder(tmp_path: Path) -> None:
    load(tmp_path, entry())
    deeper = tmp_path / "tests" / "deeper"
    deeper.mkdir()
    (deeper / "x.toml").write_text("not toml", encoding="utf-8")
    (tmp_path / "tests" / "README.md").write_text("x", encoding="utf-8")
    assert load(tmp_path, entry()).slugs == []


def test_a_folder_named_like_a_test_is_a_finding(tmp_path: Path) -> None:
    load(tmp_path, entry())
    (tmp_path / "tests" / "x.toml").mkdir()
    assert load(tmp_path, entry()).slugs == ["unreadable-file"]


def test_tests_of_other_workloads_are_skipped_or_refused(tmp_path: Path) -> None:
    nccl = (
        'name = "nccl"\ndescription = "x"\ntest_template_name = "NcclTest"\n[cmd_args]\nanything = [1, "a"]\n'
    )
    assert load(tmp_path, entry(), nccl=nccl).slugs == ["file-skipped"]
    used = load(tmp_path, entry(test="nccl"), nccl=nccl)
    assert used.slugs == ["unknown-template", "file-skipped"]
    assert '"DeepEPBenchmark"' in used.diagnostics[0].message
    assert used.scenario is None


def test_a_missing_scenario_and_a_missing_tests_folder(tmp_path: Path) -> None:
    scenario, found = load_scenario(tmp_path / "none.toml", None)
    assert scenario is None
    assert [one.code for one in found] == ["DEP101"]
    loaded = load(tmp_path, entry())
    scenario, found = load_scenario(tmp_path / "scenario.toml", tmp_path / "nowhere")
    assert loaded.scenario is not None
    assert scenario is None
    assert "DEP101" in [one.code for one in found]
