"""Marks of records: what they are in a word, and what the judge says of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from deepep_host.judge import judge_run
from deepep_host.judge.marks import kind_of, marks_of

from tests.judge.tree import change_json, make_run, make_session, result_dir, write_run


@pytest.mark.parametrize(
    ("mark", "kind"),
    [
        ("GPU 0 of node1 was throttled: power cap", "throttled"),
        ("GPU 0 of n was throttled while it was timed: power cap (0.40 s of 1.50 s)", "throttled"),
        ("GPU GPU-1 of node1 was shared with nsys-daemon (pid 7)", "shared"),
        ("conditions unknown: nvidia-smi tells nothing of the GPUs of node1", "conditions unknown"),
        ("measured under nsys, which slows the program", "nsys"),
        ("something new", "marked"),
    ],
)
def test_a_mark_in_a_word(mark: str, kind: str) -> None:
    assert kind_of(mark) == kind


@pytest.mark.parametrize(
    ("table", "profiled"),
    [(None, False), ({}, True), ({"enable": True}, True), ({"enable": False}, False), ("yes", False)],
)
def test_the_plan_knows_what_runs_under_nsys(table: object, profiled: bool) -> None:
    run = make_run()
    run["test_definition"]["nsys"] = table
    assert bool(marks_of(run, {})) is profiled
    assert len(marks_of(run, {"marks": ["measured under nsys, which slows the program"]})) == 1


def test_one_sentence_stands_for_all_gpus_and_names_the_operations(tmp_path: Path) -> None:
    run = make_run()
    run_dir = write_run(tmp_path, run)
    marks = [f"GPU {number} of node1 was throttled: power cap" for number in range(8)]
    path = run_dir / result_dir(run) / "results.json"
    change_json(path, lambda records: records[0].update(marks=marks))
    judged = judge_run(run, run_dir, make_session())
    assert judged["verdict"] == "PASS"
    assert judged["notes"] == [
        "while it was measured (dispatch): GPU 0 of node1 was throttled: power cap, and 7 more such"
    ]
    assert [one["marks"] for one in judged["operations"]] == [marks, []]


def test_times_that_do_not_agree_mark_what_comes_from_their_median() -> None:
    record = {"operation": "dispatch", "time_s": {"min": 34.8e-6, "median": 57.6e-6}}
    [mark] = marks_of({}, record)
    assert "57.6 us or longer, the fastest 34.8 us" in mark
    assert kind_of(mark) == "unsteady"
    assert [marks_of({}, record, figure) for figure in ("global_bw", "kernel_time", "simple_nvl_bw")] == [
        [mark], [], []
    ]  # fmt: skip
    steady = {"time_s": {"min": 34.8e-6, "median": 36.0e-6}}
    for other in ({"stand_in": True}, {"baseline": True}, {"variant": "eager"}, steady, {"time_s": None}):
        assert marks_of({}, {**record, **other}) == []
