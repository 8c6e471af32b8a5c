"""Results of other tools: CloudAI's result directories and the output of DeepEP's own tests."""

# ruff: noqa: E501 - lines are as DeepEP prints them

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from compiler.reference.load import read_references, shipped
from compiler.report.foreign.imported import read_foreign, write_imported
from tests.judge.tree import write
from tests.report.conftest import Open

ROOT = Path(__file__).parents[2]
RESULTS = "benchmark_16_ranks_20260102_030405_standard"

SEED_ROW = {
    "global_bw": 43.5,
    "deepep_time": 0.0011,
    "simple_rdma_bw": 43.0,
    "simple_nvl_bw": 0,
    "num_tokens": 4096,
    "hidden": 7168,
}
MOE_ROWS = [
    {
        "backend": backend,
        "operation": operation,
        "bus_bw_avg": 40.0 + number,
        "bus_bw_min": 39.0,
        "bus_bw_max": 44.0,
        "time_s": 0.001,
        "num_tokens": 128,
        "hidden": 7168,
    }
    for number, (backend, operation) in enumerate(
        (backend, operation) for backend in ("legacy", "elastic") for operation in ("dispatch", "combine")
    )
]

INTERNODE = """\
[config] num_tokens=4096, hidden=7168, num_topk_groups=4, num_topk=8
[layout] Kernel performance: 0.054 ms

[testing] Running with FP8, with top-k (async=False, previous=True) ... passed
[tuning] SMs 24, NVL chunk 28, RDMA chunk 20: 61 + 1000 us, 43.00 GB/s (RDMA), 140.00 GB/s (NVL)
[tuning] Best dispatch (FP8): SMs 24, NVL chunk 28, RDMA chunk 20: 61 + 1000 us, 43.00 GB/s (RDMA), 140.00 GB/s (NVL)
[tuning] Best dispatch (FP8): SMs 24, NVL chunk 28, RDMA chunk 20: 59 + 980 us, 45.00 GB/s (RDMA), 142.00 GB/s (NVL)
[tuning] Best combine: SMs 24, NVL chunk 1, RDMA chunk 16, 70.00 + 2000.00 us, 43.00 GB/s (RDMA), 140.00 GB/s (NVL)
[tuning] Best combine: SMs 24, NVL chunk 1, RDMA chunk 16: 44.00 GB/s (RDMA), 141.00 GB/s (NVL)
"""
INTRANODE = """\
[config] num_tokens=4096, hidden=7168, num_topk=8
[testing] Running with BF16, without top-k (async=False, previous=False) ... passed
[tuning] Best dispatch (BF16): SMs 24, NVL chunk 16, 331.77 GB/s (NVL), t: 300.12 us
[tuning] Best combine: SMs 24, NVL chunk 8: 321.89 GB/s (NVL), t: 350.00 us
"""


def _low_latency(ranks: int) -> str:
    lines = ["Allocating buffer size: 2146.96 MB ..."]
    for rank in range(ranks):
        both = f"[rank {rank}] Dispatch + combine bandwidth: 45.10 GB/s, avg_t=490.00 us, min_t=480.00 us, "
        lines.append(both + "max_t=510.00 us")
        each = f"[rank {rank}] Dispatch bandwidth: 43.00 GB/s, avg_t={173 + rank}.00 us | "
        lines.append(each + "Combine bandwidth: 46.00 GB/s, avg_t=314.00 us")
    return "\n".join(lines) + "\n"


def _v2(ranks: int, said: str = "2 x 8") -> str:
    lines = ["Config:", f" > Ranks: {said}", " > Experts: 8/256", " > #SM: 12, #QPs: 13/129"]
    lines.append(" > Testing with do_handle_copy=1, expert_alignment=128, use_fp8_dispatch=1 ...")
    for rank in range(ranks):
        lines.append(
            f"   * EP: {rank:3}/{ranks} | dispatch: 90 GB/s (SO), 230 GB/s (SU), 1048.000 us, 400593024 bytes | "
            "copy: 4791 GB/s, 187.879 us"
        )
        lines.append(
            f"   @ EP: {rank:3}/{ranks} | combine: 81 GB/s (SO), 200 GB/s (SU), 1900.5 us, 1 bytes | reduce: 1"
        )
    return "\n".join(lines) + "\n"


def _read(path: Path) -> Any:
    tree = read_foreign(path)
    assert tree is not None
    return tree


@pytest.mark.parametrize(
    ("text", "test", "hosts", "figures"),
    [
        (INTERNODE, "test_internode", 2, {("dispatch", "simple_rdma_bw", 44.0), ("combine", "simple_nvl_bw", 140.5)}),
        (INTRANODE, "test_intranode", 1, {("dispatch", "deepep_time", 300.12e-6), ("combine", "simple_nvl_bw", 321.89)}),
        (_low_latency(8), "test_low_latency", 1, {("dispatch", "deepep_time", 180e-6), ("both", "simple_nvl_bw", 45.1)}),
        (_low_latency(16), "test_low_latency", 2, {("combine", "simple_rdma_bw", 46.0)}),
        (_v2(16), "test_ep", 2, {("dispatch", "deepep_time", 1048e-6), ("combine", "simple_rdma_bw", 81.0)}),
    ],
)  # fmt: skip
def test_output_of_deepeps_own_tests(
    tmp_path: Path, text: str, test: str, hosts: int, figures: set[tuple[str, str, float]]
) -> None:
    write(tmp_path / "stdout.txt", text)
    (run,) = _read(tmp_path / "stdout.txt").runs
    assert (run.test_name, run.num_hosts, list(run.problems)) == (test, hosts, [])
    found = {(r["operation"], key): r[key] for r in run.records for key in r}
    for operation, key, value in figures:
        assert found[operation, key] == pytest.approx(value)


def test_real_output_of_several_tests_in_one_file() -> None:
    """Three tests on four H100s, one of them twice, whose ranks' lines ran into one another."""
    runs = _read(ROOT / "docs/h100/2026-11-26-x4/deepep-own-tests.txt").runs
    assert [run.id.rpartition("/")[2] for run in runs] == [
        "test_intranode",
        "test_low_latency",
        "test_low_latency-2",
        "test_ep",
    ]
    assert [list(run.problems) for run in runs] == [[], [], [], []]
    assert [run.num_ranks for run in runs[1:]] == [4, 4, 4]
    primary = [{r["operation"]: r["deepep_time"] for r in run.records if r["primary"]} for run in runs]
    assert primary[0] == pytest.approx({"dispatch": 814.99e-6, "combine": 598.01e-6})
    assert primary[1]["both"] == pytest.approx(98.31e-6)
    assert primary[2]["both"] != primary[1]["both"]
    assert set(primary[3]) == {"dispatch", "combine"}


@pytest.mark.parametrize(
    ("text", "failed"),
    [
        (INTRANODE + "CUDA error: 700\n" + _low_latency(8), ["test_intranode"]),
        ("CUDA error: 700\n" + INTRANODE + _low_latency(8), ["test_intranode"]),
        (INTRANODE + _low_latency(8) + "CUDA error: 700\n", ["test_low_latency"]),
        (INTRANODE + "CUDA error: 1\n" + _low_latency(8) + "CUDA error: 2\n" + INTERNODE,
         ["test_intranode", "test_low_latency", "test_internode"]),
    ],
)  # fmt: skip
def test_an_error_counts_against_its_own_test(tmp_path: Path, text: str, failed: list[str]) -> None:
    """And against all below it where it comes again, since only its first line is known."""
    write(tmp_path / "stdout.txt", text)
    runs = _read(tmp_path / "stdout.txt").runs
    assert [run.test_name for run in runs if run.problems] == failed


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (_v2(8, "1 x 8").replace("/8 |", "/16 |"), "world-size"),
        (_low_latency(8).replace("[rank 3] Dispatch b", "[rank 3] ispatch b"), "rank-missing"),
        (INTERNODE.replace("... passed", "..."), "correctness-missing"),
        (INTERNODE + "Segmentation fault (core dumped)\n", "error-in-log"),
        ("[config] num_tokens=4096, hidden=7168, num_topk=8\n", "results-missing"),
    ],
)
def test_what_speaks_against_it(tmp_path: Path, text: str, code: str) -> None:
    write(tmp_path / "stdout.txt", text)
    (run,) = _read(tmp_path / "stdout.txt").runs
    assert code in {problem.code for problem in run.problems}


def _cloudai(top: Path) -> Path:
    first = top / "Tests.1/0"
    write(first / "results" / RESULTS / "results.json", [SEED_ROW])
    write(first / "stdout.txt", "global_bw 43.5\n")
    write(first / "test-run.toml", 'name = "x"\nnnodes = 2\n[test_definition]\nname = "deepep_standard"\n')
    write(top / "Tests.2/0" / RESULTS / "results.json", MOE_ROWS)
    write(top / "Tests.3/0" / RESULTS / "results.json", [SEED_ROW])
    write(top / "Tests.3/0/stderr.txt", "CUDA error: an illegal memory access was encountered\n")
    write(top / "Tests.4/0/stdout.txt", INTERNODE)
    return top


def test_a_result_directory_of_cloudai(tmp_path: Path, open_page: Open) -> None:
    top = _cloudai(tmp_path / "night")
    before = sorted(top.rglob("*"))
    command = [sys.executable, "-m", "compiler", "report", str(top), "-o", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (3, "")
    assert sorted(top.rglob("*")) == before, "a foreign tree is only read"
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    jsonschema.validate(summary, json.loads((ROOT / "schemas/summary.schema.json").read_text()))
    verdicts = {run["run"]: run["verdict"] for run in summary["runs"]}
    assert verdicts == {
        "Tests.1/0": "UNVERIFIED",
        "Tests.2/0": "UNVERIFIED",
        "Tests.3/0": "FAIL",
        "Tests.4/0": "UNVERIFIED",
    }
    assert summary["passed"] is False
    page = open_page(tmp_path / "out/night.html")
    text = page.inner_text("main")
    for piece in (
        "43.50 GB/s",
        "nothing proves its data",
        "dispatch (elastic)",
        "illegal memory access",
    ):
        assert piece in text
    links = page.eval_on_selector_all("a[href^='./']", "all => all.map(a => a.getAttribute('href'))")
    assert links and all((tmp_path / "out" / link).is_file() for link in links)


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    write(tmp_path / "notes.txt", "nothing of DeepEP\n")
    command = [sys.executable, "-m", "compiler", "report", str(tmp_path / "notes.txt")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "no result tree" in done.stderr


def test_the_bundled_program_started_by_hand(tmp_path: Path) -> None:
    """Real results of an H100: figures of NCCL stand beside, never instead; what is known is held to it."""
    source = ROOT / "docs" / "h100" / "2026-11-26-x2"
    tree = read_foreign(source)
    assert tree is not None
    write_imported(tree, tmp_path / "out", read_references(shipped()))
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    jsonschema.validate(summary, json.loads((ROOT / "schemas" / "summary.schema.json").read_text()))
    assert {run["verdict"] for run in summary["runs"]} == {"UNVERIFIED"}
    assert {run["program"] for run in summary["runs"]} == {"bundled"}
    limits = [one for one in summary["report"]["ratios"] if one["against"] == "limit"]
    assert {one["expected"] for one in limits} == {450.0}, "by the GPU that the records name"
    assert any(one["against"] == "reference" for one in summary["report"]["ratios"])
    markdown = (tmp_path / "out" / "summary.md").read_text()
    assert "(gather" not in markdown
    page = (tmp_path / "out" / "2026-11-26-x2.html").read_text()
    assert "NCCL alone" in page
    assert "started by hand" in page


def test_wrong_data_of_a_run_by_hand_is_a_failure(tmp_path: Path) -> None:
    rows = json.loads((ROOT / "docs/h100/2026-11-22-x2/v1-fp8/results.json").read_text())
    rows[0]["correctness"]["after"] = False
    write(tmp_path / "own" / "results.json", rows)
    tree = read_foreign(tmp_path / "own")
    assert tree is not None
    assert [one.code for one in tree.runs[0].problems] == ["wrong-data"]
