"""Which record, which call and which marks a figure is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from deepep_host.judge import judge_session, render_table
from deepep_host.judge.figures import as_tested, kernel_time, stands_for
from deepep_host.judge.hardware import Hardware
from deepep_host.judge.marks import marks_of, notes_on_marks
from deepep_host.judge.reference import compare_record

from tests.judge.tree import change_json, make_run, result_dir, write_tree

COUNTS = {"operation": "dispatch", "variant": "counts", "primary": True, "simple_nvl_bw": None}
CACHED = {"operation": "dispatch", "variant": "cached", "primary": False, "simple_nvl_bw": 250.0}
COMBINE = {"operation": "combine", "variant": None, "simple_nvl_bw": 350.0}
ALONE = {"operation": "dispatch", "variant": "alltoall", "primary": False, "baseline": True}
RECORDS = [COUNTS, CACHED, COMBINE, ALONE]

HOT = "GPU 0 of node1 was throttled while its kernels and DeepEP's own tests were timed: power cap"


def _tree(top: Path, **names: Any) -> Path:
    """A run as V1 has them: DeepEP's own test repeats a dispatch by its handle, NCCL stands beside."""
    run = make_run(backend="deepep_v1", **names)
    tree = write_tree(top, [run])

    def beside(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        dispatch, combine = (record | {"stand_in": False} for record in records)
        nccl = {"primary": False, "baseline": True, "backend": "nccl"}
        scaled = {
            variant: dispatch | nccl | {"variant": variant} for variant in ("alltoall", "gather_scatter")
        }
        return [
            dispatch | COUNTS,
            dispatch | CACHED,
            combine | {"simple_nvl_bw": 350.0},
            *scaled.values(),
            combine | nccl | {"variant": "alltoall"},
        ]

    change_json(tree / run["id"] / result_dir(run) / "results.json", beside)
    return tree


def test_what_deepeps_test_prints_is_of_whichever_form_it_calls() -> None:
    assert as_tested(COUNTS, RECORDS) is CACHED
    assert as_tested(COMBINE, RECORDS) is COMBINE
    assert as_tested(ALONE, RECORDS) is ALONE
    own = COUNTS | {"simple_nvl_bw": 240.0}
    assert as_tested(own, [own, CACHED]) is own
    shown = [(one["variant"], figure) for one in RECORDS for figure in ("deepep_time", "simple_nvl_bw")
             if stands_for(one, figure, RECORDS)]  # fmt: skip
    assert shown == [
        ("counts", "deepep_time"), ("counts", "simple_nvl_bw"), ("cached", "simple_nvl_bw"),
        (None, "deepep_time"), (None, "simple_nvl_bw"),
    ]  # fmt: skip


def test_junit_has_what_deepeps_test_prints(tmp_path: Path) -> None:
    tree = _tree(tmp_path)
    judge_session(tree)
    root = ElementTree.parse(tree / "junit.xml").getroot()  # noqa: S314 - our own file
    found = {
        case.get("name"): {one.get("name"): one.get("value") for one in case.iter("property")}
        for case in root.iter("testcase")
    }
    dispatch, combine = found["dispatch"], found["combine"]
    assert (dispatch["simple_nvl_bw"], dispatch["simple_bw_of"]) == ("250.0", "cached")
    assert (combine["simple_nvl_bw"], combine.get("simple_bw_of")) == ("350.0", None)


def test_the_terminal_has_nccl_beside(tmp_path: Path) -> None:
    summary = judge_session(_tree(tmp_path))
    wide = render_table(summary, 100).splitlines()
    assert max(map(len, wide[:4])) <= 100
    assert wide[0].endswith("NCCL alone  NCCL, gather")
    assert [line.split()[-6:] for line in wide[2:3]] == [["4.00", "ms", "4.00", "ms", "4.00", "ms"]]
    assert [line.split()[-4:] for line in wide[3:4]] == [["6.00", "ms", "6.00", "ms"]]
    narrow = render_table(summary, 80).splitlines()
    assert "NCCL" not in narrow[0]
    assert "    dispatch beside: NCCL alone 4.00 ms; NCCL, gather 4.00 ms" in narrow
    assert "    combine beside: NCCL alone 6.00 ms" in narrow


def test_without_a_baseline_nothing_stands_beside(tmp_path: Path) -> None:
    assert "NCCL" not in render_table(judge_session(write_tree(tmp_path, [make_run()])), 100)


@pytest.mark.parametrize(("schema", "own"), [({"schema": 1}, False), ({"schema": 2}, True), ({}, True)])
def test_kernel_time_of_the_first_format_is_of_another_call(schema: dict[str, int], own: bool) -> None:
    assert kernel_time({"kernel_time": 1e-4} | schema) == (1e-4 if own else None)


@pytest.mark.parametrize(
    ("schema", "match", "held"),
    [
        ({"schema": 1}, {}, True),
        ({}, {}, True),
        ({"schema": 2}, {}, False),
        ({"schema": 2}, {"schema": 2}, True),
        ({"schema": 3}, {"schema": 2}, True),
        ({"schema": 1}, {"schema": 2}, False),
        ({}, {"schema": 2}, False),
    ],
)
def test_kernel_times_of_other_calls_are_no_references(
    schema: dict[str, int], match: dict[str, int], held: bool
) -> None:
    record = {"backend": "deepep_v1", "operation": "dispatch", "kernel_time": 2e-4, "deepep_time": 2e-4}
    about = {"match": {"backend": "deepep_v1", "operation": "dispatch"} | match, "tolerance": 0.1}
    hardware = Hardware((), (), None, None, "")
    found = compare_record(record | schema, hardware, [about | {"figure": "kernel_time", "value": 1e-4}])
    assert [one["outcome"] for one in found] == (["worse"] if held else [])


def test_deepeps_own_test_has_marks_of_its_own() -> None:
    record = {"schema": 2, "operation": "dispatch", "marks": [], "own_test": {"marks": [HOT]}}
    assert [marks_of({}, record, figure) for figure in ("deepep_time", "kernel_time", "simple_nvl_bw")] == [
        [], [], [HOT],
    ]  # fmt: skip
    timed = {"schema": 2, "operation": "combine", "marks": ["hot"], "own_test": {"call": "x"}}
    assert [marks_of({}, timed, figure) for figure in ("deepep_time", "simple_nvl_bw")] == [["hot"], []]
    assert list(notes_on_marks({}, [record, timed])) == [
        "while it was measured (combine): hot",
        f"while DeepEP's own test was measured (dispatch): {HOT}",
    ]
    nsys = {"test_definition": {"nsys": {}}}
    assert len(marks_of(nsys, record, "simple_nvl_bw")) == 2


def test_in_the_first_format_marks_are_of_all_figures() -> None:
    older = {"schema": 1, "operation": "dispatch", "marks": [HOT], "own_test": {}}
    assert marks_of({}, older, "simple_nvl_bw") == marks_of({}, older) == [HOT]
    assert list(notes_on_marks({}, [older])) == [f"while it was measured: {HOT}"]
