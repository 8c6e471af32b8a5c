"""``compare`` on made-up trees with known truth, through the command line."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from compiler.cli import compare as command
from compiler.cli import exit_codes
from compiler.resources import resource
from tests.compare.trees import load, make_tree, spaced, verdicts
from tests.judge.tree import change_json, result_dir, write

DISPATCH = {"dispatch": spaced(0.004, 0.005, 5)}


def run(*argv: str | Path) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return command.main(parser.parse_args(["compare", *map(str, argv)]))


def compared(base: Path, new: Path, capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, Any]:
    code = run(base, new, "--format", "json", *argv)
    value = load(capsys.readouterr().out)
    schema = json.loads((resource("schemas") / "comparison.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(value)
    return code, value


def test_each_operation_gets_its_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = make_tree(
        tmp_path / "base",
        {"A": {"dispatch": spaced(0.004, 0.005, 5), "combine": spaced(0.006, 0.005, 5)}},
        session="base",
    )
    new = make_tree(
        tmp_path / "new",
        {"B": {"dispatch": spaced(0.0044, 0.005, 5), "combine": spaced(0.0054, 0.005, 5)}},
        session="new",
    )
    code, value = compared(base, new, capsys)
    assert code == exit_codes.REGRESSION
    assert verdicts(value) == {
        ("dispatch", "deepep_time"): "worse",
        ("dispatch", "global_bw"): "worse",
        ("combine", "deepep_time"): "better",
        ("combine", "global_bw"): "better",
    }
    assert value["verdict"] == "worse"
    # Bandwidth is the reciprocal of time here: two questions, not four.
    assert value["hypotheses"] == 2
    time = value["pairs"][0]["figures"][0]
    assert time["relative_difference"] == pytest.approx(0.10)
    assert time["interval"]["low"] < 0.10 < time["interval"]["high"]
    assert time["bootstrap"]["low"] < 0.10 < time["bootstrap"]["high"]
    assert time["base"]["starts"] == 5
    assert time["base"]["cv"] == pytest.approx(0.005, rel=1e-3)


def test_equal_trees_are_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = make_tree(tmp_path / "base", {"A": DISPATCH}, session="base")
    new = make_tree(tmp_path / "new", {"A": DISPATCH}, session="new")
    code, value = compared(base, new, capsys)
    assert (code, value["verdict"]) == (exit_codes.OK, "same")


def test_a_real_difference_within_the_threshold_is_no_regression(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = make_tree(tmp_path / "base", {"A": {"dispatch": spaced(0.004, 0.001, 5)}}, session="base")
    new = make_tree(tmp_path / "new", {"A": {"dispatch": spaced(0.00404, 0.001, 5)}}, session="new")
    code, value = compared(base, new, capsys)
    figure = value["pairs"][0]["figures"][0]
    assert (code, figure["verdict"]) == (exit_codes.OK, "same")
    assert figure["p_adjusted"] < 0.001
    assert "within the threshold" in figure["why"]
    code, value = compared(base, new, capsys, "--threshold", "0.5")
    assert (code, value["verdict"]) == (exit_codes.REGRESSION, "worse")


def test_noise_is_inconclusive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = make_tree(tmp_path / "base", {"A": {"dispatch": spaced(0.004, 0.05, 3)}}, session="base")
    new = make_tree(tmp_path / "new", {"A": {"dispatch": spaced(0.0042, 0.05, 3)}}, session="new")
    code, value = compared(base, new, capsys)
    figure = value["pairs"][0]["figures"][0]
    assert (code, figure["verdict"]) == (exit_codes.OK, "inconclusive")
    assert figure["minimum_detectable"] > 0.05
    assert figure["bootstrap"] is None


def test_marks_of_starts_are_a_caution(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = make_tree(tmp_path / "base", {"A": DISPATCH}, session="base")
    new = make_tree(tmp_path / "new", {"A": DISPATCH}, session="new")
    mark = "GPU 0 of node1 was throttled: power cap"
    for number in (1, 3):
        path = next((new / f"A/{number}").glob("results/*/results.json"))
        change_json(path, lambda records: records[0].update(marks=[mark]))
    _, value = compared(base, new, capsys)
    assert (value["pairs"][0]["base"]["marks"], value["pairs"][0]["new"]["marks"]) == ([], [mark])
    for form in ("text", "markdown"):
        run(base, new, "--format", form)
        assert "2 of 5 starts of NEW are marked: GPU 0 of node1" in capsys.readouterr().out


def test_marks_of_deepeps_own_test_are_a_caution_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = "GPU 0 of node1 was throttled: power cap"
    base = make_tree(tmp_path / "base", {"A": DISPATCH}, session="base")
    new = make_tree(
        tmp_path / "new", {"A": DISPATCH}, session="new",
        change_record=lambda record: record.update(own_test={"marks": [mark]}),
    )  # fmt: skip
    _, value = compared(base, new, capsys)
    assert value["pairs"][0]["new"]["marks"] == []
    assert value["pairs"][0]["cautions"] == [
        f"NVLink and RDMA bandwidth of 5 of 5 starts of NEW are marked: {mark}"
    ]


def test_kernel_times_of_another_call_are_another_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the first format of records they are of the call of DeepEP's own test."""

    def tree(name: str, schema: int, kernel: float) -> Path:
        times = iter(spaced(kernel, 0.005, 5))
        return make_tree(
            tmp_path / name, {"A": DISPATCH}, session=name,
            change_record=lambda record: record.update(schema=schema, kernel_time=next(times)),
        )  # fmt: skip

    older, newer = tree("older", 1, 0.002), tree("newer", 2, 0.003)
    for base, new, says in (
        (older, newer, "BASE's are of the call of DeepEP's own test, NEW's of the run's own call"),
        (newer, older, "NEW's are of the call of DeepEP's own test, BASE's of the run's own call"),
    ):
        code, value = compared(base, new, capsys)
        assert code == exit_codes.OK
        assert {figure for _, figure in verdicts(value)} == {"deepep_time", "global_bw"}
        assert value["pairs"][0]["cautions"] == [f"kernel times are not compared: {says}"]
    for base, new, figure in (
        (older, tree("old", 1, 0.003), "tested_kernel_time"),
        (newer, tree("new", 2, 0.005), "kernel_time"),
    ):
        code, value = compared(base, new, capsys)
        assert (code, verdicts(value)["dispatch", figure]) == (exit_codes.REGRESSION, "worse")
        assert value["pairs"][0]["cautions"] == []


def test_what_deepeps_tests_print_is_compared_where_they_measure_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of 2.x flush before every call; records of before name no release."""

    def tree(name: str, method: str) -> Path:
        figures = iter(spaced(250.0, 0.005, 5))
        return make_tree(
            tmp_path / name, {"A": DISPATCH}, session=name,
            change_record=lambda record: record.update(
                simple_nvl_bw=next(figures), own_test={"method": method}
            ),
        )  # fmt: skip

    base = tree("base", "back to back, no barrier")
    _, value = compared(base, tree("alike", "as tests/ of DeepEP 1.2.1: back to back, no barrier"), capsys)
    assert ("dispatch", "simple_nvl_bw") in verdicts(value)
    assert value["pairs"][0]["cautions"] == []
    _, value = compared(base, tree("other", "as tests/legacy/ of DeepEP 2: caches flushed"), capsys)
    assert ("dispatch", "simple_nvl_bw") not in verdicts(value)
    [caution] = value["pairs"][0]["cautions"]
    assert caution.endswith("BASE: back to back, no barrier; NEW: caches flushed")


@pytest.mark.parametrize("known_by", ["plan", "record"])
def test_what_ran_under_nsys_is_no_counterpart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], known_by: str
) -> None:
    def profile(run: dict[str, Any]) -> None:
        run["test_definition"]["nsys"] = {"enable": True}

    def say(record: dict[str, Any]) -> None:
        record["marks"] = ["ran under nsys"]

    change = {"plan": {"change_run": profile}, "record": {"change_record": say}}[known_by]
    base = make_tree(tmp_path / "base", {"A": DISPATCH}, session="base")
    new = make_tree(tmp_path / "new", {"A": DISPATCH}, session="new", **change)
    _, value = compared(base, new, capsys)
    assert value["pairs"] == []
    assert value["refused"][0]["reasons"] == [{"what": "under nsys", "base": "false", "new": "true"}]


def test_a_tree_that_varies_far_more_is_a_caution(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = make_tree(tmp_path / "base", {"A": {"dispatch": spaced(0.004, 0.002, 8)}}, session="base")
    new = make_tree(tmp_path / "new", {"A": {"dispatch": spaced(0.004, 0.05, 4)}}, session="new")
    figure = compared(base, new, capsys)[1]["pairs"][0]["figures"][0]
    assert "varies far more" in figure["caution"]
    for form in ("text", "markdown"):
        run(base, new, "--format", form)
        assert "varies far more" in capsys.readouterr().out


def test_one_start_a_side_is_inconclusive_however_large_the_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = make_tree(tmp_path / "base", {"A": {"dispatch": [0.004]}}, session="base")
    new = make_tree(tmp_path / "new", {"A": {"dispatch": spaced(0.4, 0.01, 5)}}, session="new")
    code, value = compared(base, new, capsys)
    figure = value["pairs"][0]["figures"][0]
    assert (code, figure["verdict"]) == (exit_codes.OK, "inconclusive")
    assert figure["why"].startswith("BASE: one start")
    assert value["hypotheses"] == 0


def test_copied_values_are_no_independent_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = make_tree(tmp_path / "base", {"A": {"dispatch": [0.004] * 5}}, session="base")
    new = make_tree(tmp_path / "new", {"A": {"dispatch": [0.008] * 5}}, session="new")
    code, value = compared(base, new, capsys)
    assert (code, value["verdict"]) == (exit_codes.OK, "inconclusive")
    assert "very same value" in value["pairs"][0]["figures"][0]["why"]


def test_iterations_of_several_entries_with_one_configuration_are_one_series(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = {"dispatch": spaced(0.004, 0.01, 2)}
    base = make_tree(tmp_path / "base", {"A": half, "B": half}, session="base")
    new = make_tree(tmp_path / "new", {"C": DISPATCH}, session="new")
    _, value = compared(base, new, capsys)
    assert value["pairs"][0]["base"]["runs"] == ["A/0", "A/1", "B/0", "B/1"]


@pytest.mark.parametrize(
    ("what", "change_run", "change_record"),
    [
        ("backend", lambda run: run.update(backend="nccl"), lambda record: None),
        (
            "tokens",
            lambda run: run["config"].update(tokens=256),
            lambda record: record.update(num_tokens=256),
        ),
        (
            "timed iterations",
            lambda run: run["config"].update(num_iterations=3),
            lambda record: record.update(num_iterations=3),
        ),
        ("timing", lambda run: None, lambda record: record.update(timing="events")),
        ("counting", lambda run: None, lambda record: record.update(counting="v2")),
        ("data type", lambda run: run["config"].update(data_type="fp8"), lambda record: None),
    ],
)
def test_what_is_not_comparable_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, change_run: Any, change_record: Any
) -> None:
    base = make_tree(tmp_path / "base", {"A": DISPATCH}, session="base")

    def record(one: dict[str, Any]) -> None:
        change_record(one)
        if what == "timed iterations":
            one["time_s"]["iterations"] = one["time_s"]["iterations"][:3]
            one["total_time"] = sum(one["time_s"]["iterations"])

    new = make_tree(
        tmp_path / "new", {"A": DISPATCH}, session="new", change_run=change_run, change_record=record
    )
    # What is tested is the pairing: the made-up changes need not be what the judge calls a PASS.
    for path in new.glob("A/*/verdict.json"):
        change_json(path, lambda verdict: verdict.update(verdict="PASS"))
    code, value = compared(base, new, capsys)
    assert code == exit_codes.INPUT_ERROR
    assert value["pairs"] == []
    assert what in [reason["what"] for reason in value["refused"][0]["reasons"]]
    assert value["text"].startswith("not compared")


def test_another_gpu_and_an_unknown_one_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def nccl(run: dict[str, Any]) -> None:
        run["backend"] = "nccl"
        run["config"]["backend"] = "nccl"

    trees = {}
    for name, gpu in (("h100", "NVIDIA H100"), ("h200", "NVIDIA H200"), ("none", None), ("none2", None)):
        top = make_tree(tmp_path / name, {"A": DISPATCH}, session=name, change_run=nccl)
        for path in top.glob("A/*/metadata/*.toml"):
            text = path.read_text(encoding="utf-8").replace('gpu_arch_type = "null"', "")
            write(path, text + (f'\n[[gpus]]\nname = "{gpu}"\n' if gpu else ""))
        for path in top.glob("A/*/verdict.json"):
            change_json(path, lambda verdict: verdict.update(verdict="PASS"))
        trees[name] = top
    for base, new, reason in (
        ("h100", "h200", ("hardware", "NVIDIA H100", "NVIDIA H200")),
        ("h100", "none", ("hardware", "NVIDIA H100", "not recorded")),
        ("none", "none2", ("hardware", "not recorded", "not recorded")),
    ):
        code, value = compared(trees[base], trees[new], capsys)
        assert code == exit_codes.INPUT_ERROR
        assert [tuple(one.values()) for one in value["refused"][0]["reasons"]] == [reason]


def test_other_amounts_moved_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = make_tree(tmp_path / "base", {"A": DISPATCH}, session="base")

    def more(record: dict[str, Any]) -> None:
        record["bytes"]["global"] = int(record["bytes"]["global"] * 1.05)

    new = make_tree(tmp_path / "new", {"A": DISPATCH}, session="new", change_record=more)
    for path in new.glob("A/*/verdict.json"):
        change_json(path, lambda verdict: verdict.update(verdict="PASS"))
    code, value = compared(base, new, capsys)
    assert code == exit_codes.INPUT_ERROR
    assert value["refused"][0]["reasons"][0]["what"] == "bytes of all ranks per iteration"


def test_changed_settings_are_compared_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def image(name: str) -> Any:
        return lambda run: run.update(image=name)

    base = make_tree(tmp_path / "base", {"A": DISPATCH}, session="base", change_run=image("deepep:1"))
    new = make_tree(
        tmp_path / "new",
        {"A": DISPATCH},
        session="new",
        change_run=image("deepep:2"),
        change_record=lambda record: record["versions"].update(torch="2.14.0"),
    )
    code, value = compared(base, new, capsys)
    assert code == exit_codes.OK
    assert value["pairs"][0]["changed"] == [
        {"what": "image", "base": "deepep:1", "new": "deepep:2"},
        {"what": "torch", "base": "2.13.0", "new": "2.14.0"},
    ]


def test_a_sweep_of_the_environment_is_paired_point_by_point(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def algorithm(run: dict[str, Any]) -> None:
        run["env"]["NCCL_ALGO"] = {"A": "Ring", "B": "Tree"}[run["entry"]]

    entries = {"A": DISPATCH, "B": {"dispatch": spaced(0.008, 0.005, 5)}}
    base = make_tree(tmp_path / "base", entries, session="base", change_run=algorithm)
    new = make_tree(tmp_path / "new", entries, session="new", change_run=algorithm)
    code, value = compared(base, new, capsys)
    assert (code, value["verdict"]) == (exit_codes.OK, "same")
    assert [pair["base"]["places"] for pair in value["pairs"]] == [["A"], ["B"]]
    assert len({pair["label"] for pair in value["pairs"]}) == 2


def test_runs_that_did_not_pass_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = make_tree(tmp_path / "base", {"A": DISPATCH, "B": DISPATCH}, session="base")
    new = make_tree(tmp_path / "new", {"A": DISPATCH}, session="new")
    change_json(new / "A/2/verdict.json", lambda verdict: verdict.update(verdict="FAIL"))
    (new / "A/3/verdict.json").unlink()
    (new / "summary.json").unlink()
    code, value = compared(base, new, capsys)
    assert code == exit_codes.OK
    assert value["pairs"][0]["new"]["runs"] == ["A/0", "A/1", "A/4"]
    assert [(one["run"], one["verdict"]) for one in value["left_out"]] == [("A/2", "FAIL"), ("A/3", None)]
    assert "deepep-compiler report" in value["left_out"][1]["why"]


def test_a_configuration_that_no_longer_passes_is_unpaired(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = make_tree(tmp_path / "base", {"A": DISPATCH}, session="base")
    new = make_tree(tmp_path / "new", {"A": DISPATCH}, session="new")
    for path in new.glob("A/*/verdict.json"):
        change_json(path, lambda verdict: verdict.update(verdict="TIMEOUT"))
    code, value = compared(base, new, capsys)
    assert code == exit_codes.INPUT_ERROR
    assert value["unpaired"][0]["tree"] == "BASE"
    assert "BASE are left out" not in value["unpaired"][0]["why"]
    assert "NEW are left out: A/0, A/1" in value["unpaired"][0]["why"]


def test_unverified_runs_take_part_only_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees = [make_tree(tmp_path / name, {"A": DISPATCH}, session=name) for name in ("base", "new")]
    for tree in trees:
        for path in tree.glob("A/*/verdict.json"):
            change_json(path, lambda verdict: verdict.update(verdict="UNVERIFIED"))
    assert compared(*trees, capsys)[0] == exit_codes.INPUT_ERROR
    assert compared(*trees, capsys, "--include-unverified")[0] == exit_codes.OK


@pytest.mark.parametrize("content", ["", "{", "[]", '[{"operation": "dispatch"}, 3]', "[" * 100000])
def test_unreadable_results_leave_the_run_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    base = make_tree(tmp_path / "base", {"A": DISPATCH}, session="base")
    new = make_tree(tmp_path / "new", {"A": DISPATCH}, session="new")
    plan = json.loads((new / "plan.json").read_text(encoding="utf-8"))
    write(new / "A/0" / result_dir(plan["runs"][0]) / "results.json", content)
    code, value = compared(base, new, capsys)
    assert code == exit_codes.OK
    assert [one["run"] for one in value["left_out"]] == ["A/0"]


def test_a_result_directory_outside_the_tree_is_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = make_tree(tmp_path / "base", {"A": DISPATCH}, session="base")
    new = make_tree(tmp_path / "new", {"A": DISPATCH}, session="new")
    for number, place in enumerate(("../../../base/A/0/results", "/etc")):
        change_json(new / f"A/{number}/verdict.json", lambda v, place=place: v.update(result_dir=place))
    _, value = compared(base, new, capsys)
    assert [one["run"] for one in value["left_out"]] == ["A/0", "A/1"]


@pytest.mark.parametrize("format_", ["text", "markdown"])
def test_text_says_everything_and_obeys_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], format_: str
) -> None:
    def hostile(run: dict[str, Any]) -> None:
        run["env"]["X"] = "\x1b[31m|<script>`"

    base = make_tree(tmp_path / "base", {"A": DISPATCH, "B": DISPATCH}, session="base")
    slower = {"dispatch": spaced(0.0044, 0.005, 5)}
    new = make_tree(tmp_path / "new", {"A": slower, "B": slower}, session="new", change_run=hostile)
    assert run(base, new, "--format", format_) == exit_codes.REGRESSION
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "+10.0%" in out
    assert "worse: 2 worse of 2 figures" in out
    assert "env.X" in out
    if format_ == "text":
        assert out.splitlines()[-1].startswith("worse")
    else:
        assert "<script>" not in out.replace("\\<", "")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("missing", "new"), "has no plan.json"),
        (("base", "base"), "same result tree"),
        (("base", "copy"), "copies of the same session"),
    ],
)
def test_bad_trees_are_clear_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, str], expected: str
) -> None:
    make_tree(tmp_path / "base", {"A": DISPATCH}, session="base")
    make_tree(tmp_path / "new", {"A": DISPATCH}, session="new")
    shutil.copytree(tmp_path / "base", tmp_path / "copy")
    assert run(*(tmp_path / name for name in argv)) == exit_codes.INPUT_ERROR
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv", [("--threshold", "0"), ("--threshold", "x"), ("--alpha", "0.9"), ("--alpha", "nan")]
)
def test_bad_options_are_wrong_usage(argv: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("base", "new", *argv)
    assert stopped.value.code == exit_codes.USAGE
    assert argv[0] in capsys.readouterr().err
