"""Real runs under torchrun, on the gloo stand-in: two hosts are two agents on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from compiler.plan import nsys
from compiler.plan.model import Text, Variable
from tests.bench_program.launch import REPO, run
from tests.bench_program.processes import Forked, Starter

SCHEMA = Draft202012Validator(
    json.loads((REPO / "schemas" / "results.schema.json").read_text()),
    format_checker=Draft202012Validator.FORMAT_CHECKER,
)

NSYS = REPO / "tests" / "bench_program" / "stand_in" / "nsys_stand_in"
STANDARD = ["dispatch", "combine"]
LOW_LATENCY = ["dispatch", "combine", "both"]


def test_the_schema_is_valid() -> None:
    Draft202012Validator.check_schema(SCHEMA.schema)


@pytest.mark.parametrize(
    ("config", "operations", "row_bytes"),
    [
        pytest.param(
            {"mode": "standard", "use_kineto_profiler": True}, STANDARD, 1024, id="standard-bfloat16"
        ),
        pytest.param(
            {"mode": "standard", "data_type": "fp8", "shuffle_columns": True},
            STANDARD,
            512 + 16,
            id="standard-fp8-shuffled",
        ),
        pytest.param(
            {"mode": "low_latency", "shuffle_columns": True},
            LOW_LATENCY,
            1024,
            id="low-latency-bfloat16-shuffled",
        ),
        pytest.param(
            {"mode": "low_latency", "data_type": "fp8", "round_scale": True, "use_ue8m0": True},
            LOW_LATENCY,
            512 + 4,
            id="low-latency-fp8-ue8m0",
        ),
    ],
)
def test_two_hosts(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    config: dict[str, Any],
    operations: list[str],
    row_bytes: int,
) -> None:
    # one of them exactly as on hosts
    starter: Starter = request.getfixturevalue("afresh" if config.get("use_kineto_profiler") else "forked")
    profiler: list[str] = []
    if config.get("use_kineto_profiler"):
        # the words that a plan with nsys has there (compiler/plan/nsys.py), with a stand-in for nsys
        words = [part_text(word) for word in nsys.of_ranks({"nsys_binary": str(NSYS), "trace": "cuda"})]
        profiler = ["--no-python", *words, str(request.getfixturevalue("torch_python"))]
    done = run(starter, tmp_path, hosts=2, ranks_per_host=2, profiler=profiler, **config)
    assert done.codes == [0, 0], done.text
    records = done.records()
    SCHEMA.validate(records)
    assert [record["operation"] for record in records] == operations
    for record in records:
        assert record["stand_in"] is True
        assert any("not DeepEP's figure" in note for note in record["notes"])
        marks = ["measured under nsys, which slows the program"] if profiler else []
        assert record["marks"] == marks
        assert set(marks) <= set(record["notes"])
        assert record["simple_nvl_bw"] is record["simple_rdma_bw"] is record["counting"] is None
        assert (record["num_ranks"], record["num_hosts"], record["ranks_per_host"]) == (4, 2, 2)
        assert [line["host"] for line in record["per_rank"]] == ["node0", "node0", "node1", "node1"]
        assert record["correctness"]["before"] is record["correctness"]["after"] is True
        assert 0 <= record["correctness"]["max_rel_error"] <= record["correctness"]["tolerance"]
        assert record["variant"] == (
            "counts" if record["operation"] == "dispatch" and len(operations) == 2 else None
        )
        check_times_and_bytes(record, row_bytes)
    check_files(done.folders, records[0], row_bytes)
    traces = [path.name for folder in done.folders for path in sorted(folder.glob("traces/*"))]
    if config.get("use_kineto_profiler"):
        kineto, reports = traces[2:4] + traces[6:], traces[:2] + traces[4:6]
        assert kineto == [f"rank-000{rank}.json" for rank in range(4)]
        assert reports == [f"nsys-{rank}.nsys-rep" for rank in range(4)]
        trace = json.loads((done.folders[1] / "traces" / "rank-0003.json").read_text())
        assert {"dispatch", "combine"} <= {event.get("name") for event in trace["traceEvents"]}
    else:
        assert traces == []


def part_text(word: Text) -> str:
    """A word of a plan, with RUN_DIR for the run's folder."""
    if isinstance(word, str):
        return word
    return "".join(part.name if isinstance(part, Variable) else part for part in word.parts)


def check_times_and_bytes(record: dict[str, Any], row_bytes: int) -> None:
    times = record["time_s"]["iterations"]
    assert len(times) == record["num_iterations"] == 3
    assert record["deepep_time"] == record["time_s"]["median"] == sorted(times)[1]
    assert record["total_time"] == pytest.approx(sum(times))
    assert record["global_bw"] == pytest.approx(record["bytes"]["global"] / record["deepep_time"] / 1e9)
    assert record["bytes"]["global"] == sum(record["bytes"]["per_rank"])
    assert record["bytes"]["per_rank"] == [line["bytes_sent"] for line in record["per_rank"]]
    assert record["bytes"]["global"] == sum(line["bytes_received"] for line in record["per_rank"])
    size = {"dispatch": row_bytes, "combine": 1024, "both": row_bytes + 1024}[record["operation"]]
    assert record["bytes"]["global"] % size == 0
    if record["mode"] == "low_latency":
        assert record["bytes"]["global"] == 4 * 24 * 4 * size


def check_files(folders: list[Path], dispatch: dict[str, Any], row_bytes: int) -> None:
    mode = dispatch["mode"]
    result = folders[0] / "results" / f"benchmark_4_ranks_20260102_030405_{mode}"
    assert dispatch["result_dir"] == f"results/{result.name}"
    assert sorted(path.name for path in result.iterdir()) == [
        "links.json",
        "results.json",
        "token_matrix.txt",
        "token_matrix_kb.txt",
    ]
    links = json.loads((result / "links.json").read_text())
    Draft202012Validator(json.loads((REPO / "schemas" / "links.schema.json").read_text())).validate(links)
    assert links["hosts"] == ["node0", "node0", "node1", "node1"]
    assert [[cell is None for cell in row] for row in links["time_s"]] == [
        [sender == receiver for receiver in range(4)] for sender in range(4)
    ]
    experts = numbers(result / "token_matrix.txt")
    assert len(experts) == 4 * 24
    assert all(len(row) == 4 and set(row) <= set(range(16)) for row in experts)
    kb = numbers(result / "token_matrix_kb.txt")
    assert [round(sum(row) * 1000) for row in kb] == dispatch["bytes"]["per_rank"]
    # from the first matrix the second follows: token copies from rank to rank
    for source in range(4):
        for destination in range(4):
            hits = [[e // 4 == destination for e in row] for row in experts[source * 24 : source * 24 + 24]]
            copies = sum(any(row) if mode == "standard" else sum(row) for row in hits)
            assert kb[source][destination] == pytest.approx(copies * row_bytes / 1000)
    for node, folder in enumerate(folders):
        marker = json.loads((folder / "markers" / f"node{node}.json").read_text())
        ranks = [2 * node, 2 * node + 1]
        assert marker == {"host": f"node{node}", "world_size": 4, "ranks": ranks, "completed": True}
        assert sorted(path.name for path in (folder / "ranks").iterdir()) == [
            f"rank-000{rank}.json" for rank in ranks
        ]
        assert json.loads((folder / "progress.json").read_text())["phase"] == "done"
    assert not (folders[1] / "results").exists()


def numbers(path: Path) -> list[list[float]]:
    lines = path.read_text().splitlines()
    return [[float(word) for word in line.split()] for line in lines if not line.startswith("#")]


def test_a_rank_without_tokens_is_fine(forked: Forked, tmp_path: Path) -> None:
    """One token per rank that selects one expert of four ranks: some ranks receive nothing."""
    done = run(forked, tmp_path, ranks_per_host=4, tokens=1, num_topk=1, data_type="fp8", num_warmups=0)
    assert done.codes == [0], done.text
    received = [line["bytes_received"] for line in done.records()[0]["per_rank"]]
    assert 0 in received
    assert sum(received) == 4 * (512 + 16)


def test_capped_iterations_and_meaningless_keys_are_noted(forked: Forked, tmp_path: Path) -> None:
    done = run(
        forked,
        tmp_path,
        ranks_per_host=1,
        requested_num_iterations=50,
        num_sms=24,
        round_scale=True,
        arguments=["--seed=5"],
    )
    assert done.codes == [0], done.text
    [dispatch, _] = done.records()
    notes = "\n".join(dispatch["notes"])
    assert "num_iterations: 50 were asked for, 3 were run" in notes
    assert "num_sms is set but means nothing to backend gloo" in notes
    assert "round_scale has no effect" in notes
    assert (dispatch["requested_num_iterations"], dispatch["requested_num_warmups"], dispatch["seed"]) == (
        50,
        None,
        5,
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_experts": 15}, "cannot be split evenly over 2 ranks; use 14 or 16"),
        ({"backend": "deepep"}, "this Python has no package deep_ep"),
        ({"backend": "mpi"}, "backend = 'mpi' is unknown; known: gloo, nccl"),
        ({"backend": "nccl"}, "needs one GPU per rank"),
        ({"tokens": 10**9}, "GB, free for it: "),
    ],
)
def test_what_cannot_run_is_refused(
    forked: Forked, tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    done = run(forked, tmp_path, **config)
    assert done.codes == [1]
    assert message in done.text
    assert "Traceback" not in "".join(line for line in done.text.splitlines() if line.startswith("[rank"))
    assert not (done.folders[0] / "results").exists()
    assert not (done.folders[0] / "markers").exists()
