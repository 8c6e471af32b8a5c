"""Reference values: the shipped ones are sound, and ``reference accept`` writes what later runs meet."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from compiler.reference.load import UnusableReferencesError, read_file, read_references, shipped
from compiler.report.write import write_reports
from compiler.resources import host_code
from tests.judge.tree import change_json, make_run, make_state, result_dir, write, write_tree

host_code()

from deepep_host.judge.hardware import Hardware  # noqa: E402
from deepep_host.judge.reference import compare_record, fits  # noqa: E402

ROOT = Path(__file__).parents[2]


def _accept(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "compiler", "reference", "accept", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_shipped_references_are_sound() -> None:
    assert len(shipped()) >= 4
    references = read_references(shipped())
    keys = [
        repr((sorted(one["match"].items()), one["figure"], one["provenance"]["source"])) for one in references
    ]
    assert len(references) == len(set(keys)) > 90
    for one in references:
        # Times in seconds, bandwidths in GB/s: a slip of a unit would be far outside.
        low, high = (1e-6, 0.1) if one["figure"].endswith("_time") else (1, 1000)
        assert low < one["value"] < high, one


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = [", "is no TOML"),
        ("schema = 1\n", "title"),
        ('schema = 1\ntitle = "t"\n[[reference]]\nfigure = "speed"\n', "reference.0"),
    ],
)
def test_what_is_no_file_of_references_is_said(tmp_path: Path, text: str, says: str) -> None:
    write(tmp_path / "r.toml", text)
    with pytest.raises(UnusableReferencesError, match=says):
        read_file(tmp_path / "r.toml")


def test_accept_then_hold_the_next_run_to_it(tmp_path: Path) -> None:
    runs = [make_run(f"Tests.1/{number}") for number in range(3)]
    tree = write_tree(tmp_path / "tree", runs)
    write(tree / "Tests.1/2/logs/node1.state.json", make_state(runs[2], "node1", exit_code=1))
    for number, factor in enumerate((1.0, 1.02)):
        path = tree / f"Tests.1/{number}" / result_dir(runs[number]) / "results.json"
        write(
            path, path.read_text().replace("0.004", str(0.004 * factor)).replace("10.0", str(10.0 / factor))
        )
    write_reports(tree)
    target = tmp_path / "own.toml"

    done = _accept(tree, "-o", target)

    assert (done.returncode, done.stderr) == (0, "")
    assert "2 new, 0 replaced" in done.stdout
    assert "left out: Tests.1/2: its verdict is FAIL" in done.stdout
    document = read_file(target)
    dispatch = next(r for r in document["reference"] if r["match"]["operation"] == "dispatch")
    assert dispatch["starts"] == 2
    assert dispatch["interval"][0] < dispatch["value"] < dispatch["interval"][1]
    assert dispatch["provenance"]["run_id"] == "deepep-benchmark-made-up"
    assert "2 replaced" in _accept(tree, "-o", target).stdout
    assert len(read_file(target)["reference"]) == 2
    write_reports(tree, references=[target])
    ratios = json.loads((tree / "summary.json").read_text())["report"]["ratios"]
    assert {(one["figure"], one["outcome"]) for one in ratios} == {("deepep_time", "within")}


def test_shipped_references_of_h100_fit_what_was_measured_there() -> None:
    h100 = Hardware(("NVIDIA H100 80GB HBM3",), ("x",), None, None, "")
    references = read_file(ROOT / "references/h100-nvlink.toml")["reference"]
    fitting = set()
    for path in sorted((ROOT / "docs/h100").glob("2026-11-26*/*/results.json")):
        for record in json.loads(path.read_text()):
            fitting |= {number for number, one in enumerate(references) if fits(record, h100, one)}
            missed = [one for one in compare_record(record, h100, references) if one["outcome"] == "worse"]
            assert missed == [], path
    assert len(fitting) > 25


def test_a_reference_of_one_routing_is_not_for_another() -> None:
    hardware = Hardware(("NVIDIA H100 80GB HBM3",), ("x",), None, None, "")
    record = {"backend": "deepep_v1", "operation": "dispatch", "num_sms": None, "effective": {"num_sms": 24}}
    routing = {"kind": "group_limited", "sha256": "0" * 64, "num_groups": 8, "num_topk_groups": 4}
    for wanted, fit in (
        ({"kind": "group_limited"}, True),
        ({"kind": "group_limited", "num_groups": 8, "num_topk_groups": 4}, True),
        ({"kind": "group_limited", "num_topk_groups": 3}, False),
        ({"kind": "uniform"}, False),
    ):
        match = {"backend": "deepep_v1", "operation": "dispatch", "num_sms": 24, "routing": wanted}
        assert fits({**record, "routing": routing}, hardware, {"match": match}) is fit
        assert not fits(record, hardware, {"match": match})  # an older record does not tell


def test_what_is_marked_is_accepted_only_on_request(tmp_path: Path) -> None:
    runs = [make_run(f"{name}/0") for name in ("Plain", "Hot", "Nsys")]
    throttled, profiled = runs[1:]
    profiled["test_definition"]["nsys"] = {"sample": "none"}
    tree = write_tree(tmp_path / "tree", runs)
    mark = "GPU 0 of node1 was throttled: power cap"
    path = tree / "Hot/0" / result_dir(throttled) / "results.json"
    change_json(path, lambda records: records[0].update(marks=[mark]))
    write_reports(tree)
    target = tmp_path / "own.toml"

    done = _accept(tree, "-o", target)

    assert f"left out: Hot/0, dispatch: it is marked: {mark}" in done.stdout
    assert "left out: Nsys/0, combine: it is marked: measured under nsys" in done.stdout
    starts = {one["match"]["operation"]: one["starts"] for one in read_file(target)["reference"]}
    assert starts == {"dispatch": 1, "combine": 2}
    done = _accept(tree, "-o", target, "--include-marked")
    assert "left out" not in done.stdout
    assert {one["starts"] for one in read_file(target)["reference"]} == {3}


def test_each_figure_is_accepted_for_what_it_is_of(tmp_path: Path) -> None:
    """Marks of DeepEP's own test are of its bandwidth alone; older kernel times are of another call."""
    runs = [make_run(f"{name}/0") for name in ("New", "Old")]
    tree = write_tree(tmp_path / "tree", runs)
    write_reports(tree)
    figures = {"kernel_time": 0.003, "simple_nvl_bw": 250.0, "stand_in": False}
    for run, values in zip(runs, ({"own_test": {"marks": ["it was throttled"]}}, {"schema": 1}), strict=True):
        change_json(
            tree / run["id"] / result_dir(run) / "results.json",
            lambda records, values=values: records[0].update(figures | values),
        )

    done = _accept(tree, "-o", tmp_path / "own.toml")

    found = {
        one["figure"]: (one["starts"], one["match"].get("schema"))
        for one in read_file(tmp_path / "own.toml")["reference"]
        if one["match"]["operation"] == "dispatch"
    }
    assert found == {"deepep_time": (2, None), "kernel_time": (1, 2), "simple_nvl_bw": (1, None)}
    assert "New/0, dispatch: its simple_nvl_bw is marked: it was throttled" in done.stdout
    assert "Old/0, dispatch: its kernel_time is of the call of DeepEP's own test" in done.stdout


def test_nothing_to_accept_is_said(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", [make_run()])
    done = _accept(tmp_path / "tree", "-o", tmp_path / "own.toml")
    assert done.returncode == 1
    assert "no figure of a run that passed" in done.stderr
    assert not (tmp_path / "own.toml").exists()


def test_a_file_that_holds_something_else_is_kept(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", [make_run()])
    write_reports(tree)
    write(tmp_path / "own.toml", "name = 'mine'\n")
    assert _accept(tree, "-o", tmp_path / "own.toml").returncode == 1
    assert tomllib.loads((tmp_path / "own.toml").read_text()) == {"name": "mine"}
