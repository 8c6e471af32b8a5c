"""The backends that drive DeepEP, on the stand-in package: arguments, mapping and checks, never a figure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.bench_program.launch import PROGRAM, REPO, Finished, finish, start
from tests.bench_program.processes import Forked, Starter
from tests.bench_program.test_runs import SCHEMA

STAND_IN = REPO / "tests" / "bench_program" / "stand_in"
TUNED = {"enable_tuning": True, "num_sms": 24}
UE8M0 = {"data_type": "fp8", "round_scale": True, "use_ue8m0": True}
BASELINES = [
    ("dispatch", "alltoall"),
    ("dispatch", "gather_scatter"),
    ("dispatch", "counts"),
    ("combine", "alltoall"),
    ("combine", "gather_scatter"),
]


def run_stand_in(
    starter: Starter,
    folder: Path,
    version: str = "v2",
    fault: str = "",
    compile_s: int = 0,
    more: Mapping[str, str] | None = None,
    shape: tuple[int, int] = (1, 2),
    **config: Any,
) -> Finished:
    """shape: hosts, ranks of each."""
    environment = {
        "PYTHONPATH": f"{STAND_IN}:{PROGRAM.parent}",
        "DEEPEP_STAND_IN": version,
        "DEEPEP_STAND_IN_COMPILE_S": str(compile_s),
        "EP_JIT_CACHE_DIR": str(folder / "jit"),
        "DEEPEP_BENCH_FAULT": fault,
        **(more or {}),
    }
    return finish(start(starter, folder, *shape, environment, **config), folder)


@pytest.mark.parametrize(
    ("config", "resolved"),
    [
        pytest.param(
            {"backend": "deepep_v1", "routing": "group_limited", **TUNED}, "deepep_v1", id="v1-bfloat16-tuned"
        ),
        pytest.param({"backend": "deepep_v1", "data_type": "fp8"}, "deepep_v1", id="v1-fp8"),
        pytest.param(
            {
                "backend": "deepep",
                "routing": "unbalanced",
                "imbalance": 1.5,
                **UE8M0,
                "enable_tuning": True,
            },
            "deepep_v2",
            id="v2-ue8m0-tuned",
        ),
        pytest.param(
            {"backend": "deepep", "mode": "low_latency", "hidden_size": 2048, "use_logfmt": True, **UE8M0},
            "deepep_v1",
            id="low-latency-ue8m0-logfmt",
        ),
    ],
)
def test_every_path_is_checked(forked: Forked, tmp_path: Path, config: dict[str, Any], resolved: str) -> None:
    done = run_stand_in(forked, tmp_path, use_kineto_profiler=True, **config)
    assert done.codes == [0], done.text
    records = done.records()
    SCHEMA.validate(records)
    assert all(record["stand_in"] for record in records)
    assert all("stand-in" in "".join(record["notes"]) for record in records)
    assert all(record["simple_nvl_bw"] is record["counting"] is None for record in records)
    primary = [record for record in records if record["primary"]]
    operations = ["dispatch", "combine", "both"] if config.get("mode") else ["dispatch", "combine"]
    assert [record["operation"] for record in primary] == operations
    assert {record["backend"] for record in records if not record["baseline"]} == {resolved}
    found = [(record["operation"], record["variant"]) for record in records if record["baseline"]]
    assert found == BASELINES
    cached = [record for record in records if record["variant"] == "cached"]
    assert len(cached) == (0 if config.get("mode") else 1)
    for record in records:
        assert record["correctness"]["before"] is record["correctness"]["after"] is True
        assert record["correctness"]["elements_checked"] > 0
    assert {record["routing"]["kind"] for record in records} == {config.get("routing", "uniform")}
    if "imbalance" in config:
        assert records[0]["routing"]["reached_imbalance"] == pytest.approx(1.5, abs=0.3)  # of 48 tokens
    if config.get("mode"):
        [own] = [record["own_test"] for record in primary if record["own_test"]]  # the CPU has no kernels
        assert own["call"] == "dispatch, then combine, the test's tokens and routing"
        assert own["method"].startswith("as tests/legacy/ of DeepEP 2: ")
    assert all(record["kernel_time"] is record["epilogue_time"] is None for record in records)
    unknown = {name(record) for record in records if "not known: kernel times: " in "".join(record["notes"])}
    assert unknown == {name(record) for record in records if not record["baseline"]} - {("both", None)}
    unknown = {name(record) for record in records if "not known: own_test, or " in "".join(record["notes"])}
    if config.get("mode"):
        assert unknown == {("dispatch", None), ("combine", None)}
    elif resolved == "deepep_v2":
        assert unknown == {("dispatch", "counts"), ("dispatch", "cached"), ("combine", None)}
    else:
        assert not unknown
    if config.get("use_logfmt"):
        # 10 bits per value and 4 bytes per 128 of them; the baselines send bfloat16
        rows = 2 * 24 * 4
        sizes = {record["baseline"]: record["bytes"]["global"] for record in records if is_combine(record)}
        assert sizes == {False: rows * (2048 * 10 // 8 + 2048 // 128 * 4), True: rows * 2048 * 2}
        # DeepEP's low latency sends float32 scales all the same, NCCL what it is given
        sizes = {
            record["baseline"]: record["bytes"]["global"]
            for record in records
            if record["operation"] == "dispatch"
        }
        assert sizes == {False: rows * (2048 + 2048 // 128 * 4), True: rows * (2048 + 2048 // 128)}
    tuned = list(done.folders[0].glob("results/*/tuning.json"))
    assert len(tuned) == int(bool(config.get("enable_tuning")))
    if tuned:
        tuning = json.loads(tuned[0].read_text())
        assert tuning["reuse"]["num_sms"] == records[0]["effective"]["num_sms"]
        # the stand-in of V2 has no kernels for 16
        searched = {24} if "num_sms" in config else {24, 32, 48, 64}
        assert {candidate["num_sms"] for candidate in tuning["candidates"]} == searched
    if config == {"backend": "deepep_v1", "data_type": "fp8"}:
        check_own_tests(records)


@pytest.mark.parametrize(
    ("config", "bits"),
    [
        ({"backend": "deepep_v1"}, "64"),
        ({"backend": "deepep_v1", "mode": "low_latency", "hidden_size": 2048, "data_type": "fp8"}, "64"),
        ({"backend": "deepep_v1"}, "32"),
    ],
)
def test_a_package_of_may_2025(forked: Forked, tmp_path: Path, config: dict[str, Any], bits: str) -> None:
    done = run_stand_in(forked, tmp_path, "old", more={"DEEPEP_STAND_IN_INDEX": bits}, **config)
    assert done.codes == [0], done.text
    assert {record["versions"]["deep_ep"] for record in done.records()} == {"1.1.0"}


@pytest.mark.parametrize(
    "config", [{"backend": "deepep_v2"}, {"backend": "deepep_v1", "mode": "low_latency"}]
)
def test_a_build_with_indices_of_32_bits(forked: Forked, tmp_path: Path, config: dict[str, Any]) -> None:
    more = {"DEEPEP_STAND_IN_INDEX": "32"}
    done = run_stand_in(forked, tmp_path, more=more, **{"hidden_size": 2048, **config})
    assert done.codes == [0], done.text


def is_combine(record: dict[str, Any]) -> bool:
    return bool(record["operation"] == "combine")


def name(record: dict[str, Any]) -> tuple[str, str | None]:
    return record["operation"], record["variant"]


def check_own_tests(records: list[dict[str, Any]]) -> None:
    own = {name(record): record["own_test"] for record in records if record["own_test"]}
    # V1's test repeats a dispatch by its handle
    assert set(own) == {("dispatch", "cached"), ("combine", None)}
    # rank 0's rows, its own share included, as V1's test counts fp8: scales as float32
    received = records[0]["per_rank"][0]["bytes_received"]
    assert own["dispatch", "cached"]["nvl_bytes"] == pytest.approx(received)
    assert own["combine", None]["nvl_bytes"] == pytest.approx(received / (512 + 16) * 1024)
    assert own["dispatch", "cached"]["counting"] == "v1_intranode"


def test_a_compiler_that_keeps_all_threads_waiting_is_no_lost_rank(forked: Forked, tmp_path: Path) -> None:
    calm = {"heartbeat_interval_s": 0.2, "heartbeat_timeout_s": 2}
    done = run_stand_in(forked, tmp_path, backend="deepep_v2", compile_s=6, **calm)
    assert done.codes == [0], done.text


@pytest.mark.parametrize(
    ("operation", "config"),
    [
        ("combine", {"backend": "deepep_v2"}),
        ("both", {"backend": "deepep_v1", "mode": "low_latency", "hidden_size": 2048}),
    ],
)
def test_wrong_data_is_caught(forked: Forked, tmp_path: Path, operation: str, config: dict[str, Any]) -> None:
    fault = f"wrong-data:rank=1,operation={operation}"
    done = run_stand_in(forked, tmp_path, fault=fault, **config)
    assert done.codes == [1]
    assert f"wrong data after {operation} at rank 1" in done.text


@pytest.mark.parametrize(
    ("version", "config", "message"),
    [
        ("v1", {"backend": "deepep_v2"}, "has no ElasticBuffer"),
        ("v2", {"backend": "deepep_v2", "mode": "low_latency"}, "V2 has no low-latency kernels"),
        (
            "old",
            {"mode": "low_latency", "hidden_size": 2048, "backend": "deepep", **UE8M0},
            "round_scale = True: OldBuffer.low_latency_dispatch of the installed deep_ep (1.1.0) has no such",
        ),
        (
            "old",
            {"mode": "low_latency", "hidden_size": 2048, "backend": "deepep", "use_logfmt": True},
            "use_logfmt = True: OldBuffer.low_latency_combine of the installed deep_ep (1.1.0) has no such",
        ),
        (
            "old",
            {"allow_mnnvl": True, "backend": "deepep_v1"},
            "allow_mnnvl = True: OldBuffer.__init__ of the installed deep_ep (1.1.0) has no such",
        ),
    ],
)
def test_what_the_kernels_refuse_is_refused_first(
    forked: Forked, tmp_path: Path, version: str, config: dict[str, Any], message: str
) -> None:
    done = run_stand_in(forked, tmp_path, version, **config)
    assert done.codes == [1]
    assert message in done.text
    assert "Traceback" not in "".join(line for line in done.text.splitlines() if line.startswith("[rank"))


def test_deepeps_buffer_counts_beside_the_tensors(forked: Forked, tmp_path: Path) -> None:
    more = {"DEEPEP_STAND_IN_BUFFER_BYTES": str(10**15)}
    done = run_stand_in(forked, tmp_path, more=more, backend="deepep_v1")
    assert done.codes == [1]
    assert re.search(r"GB of tensors, 10\d{5}\.\d\d GB for DeepEP's buffer\), free for it: ", done.text), (
        done.text
    )


# its third iteration: two dispatches belong to the check before
WAITS = {"DEEPEP_STAND_IN_WAITS_AT": "5"}
WAITING = {"backend": "deepep_v1", "num_warmups": 0, "num_iterations": 10**6, "heartbeat_interval_s": 0.2}


def test_a_rank_that_waits_in_deepep_for_one_that_failed(forked: Forked, tmp_path: Path) -> None:
    """Nothing of the waiting rank runs then, nor would the failing one come out of DeepEP's destroy."""
    done = run_stand_in(
        forked, tmp_path, more={**WAITS, "DEEPEP_STAND_IN_RAISES": ""}, heartbeat_timeout_s=60, **WAITING
    )
    assert all(done.codes)
    assert "[rank 1] RuntimeError: the stand-in fails as it was told" in done.text
    assert "[rank 1] frozen" not in done.text
    # Long before its silence counts: its launcher has told it to end.
    assert "[rank 0] frozen for " in done.text
    assert " and deaf to SIGTERM, outside of Python (last: " in done.text
    assert "in hold_the_lock" in done.text, "where it stands is not shown"


def test_a_rank_that_waits_in_deepep_for_one_that_is_silent(forked: Forked, tmp_path: Path) -> None:
    done = run_stand_in(forked, tmp_path, more=WAITS, heartbeat_timeout_s=3, stall_timeout_s=60, **WAITING)
    assert all(done.codes)
    assert "[rank 1] rank 0 on host node0: silent for " in done.text
    assert "[rank 0] frozen for " in done.text


def test_opening_buffers_may_take_longer_than_a_rank_may_be_silent(forked: Forked, tmp_path: Path) -> None:
    done = run_stand_in(
        forked, tmp_path, backend="deepep_v1", more={"DEEPEP_STAND_IN_OPEN_S": "8"}, heartbeat_interval_s=0.2,
        heartbeat_timeout_s=3,
    )  # fmt: skip
    assert done.codes == [0], done.text


@pytest.mark.parametrize(("how", "seen"), [("SIGKILL", "its process ended"), ("SIGSTOP", "stopped for ")])
def test_a_rank_that_is_gone_while_others_open_their_buffers(
    forked: Forked, tmp_path: Path, how: str, seen: str
) -> None:
    """Nothing of the others runs then, for a minute they are not even missed, and nobody else ends them."""
    opening = tmp_path / "opening"
    opening.mkdir()
    never = {
        "DEEPEP_STAND_IN_OPENS_NEVER": f"2:{how}",
        "DEEPEP_STAND_IN_OPENING": str(opening),
        "DEEPEP_STAND_IN_OPEN_S": "600",
    }
    low_latency = {"backend": "deepep_v1", "mode": "low_latency", "hidden_size": 2048}
    done = run_stand_in(forked, tmp_path, more=never, shape=(4, 1), heartbeat_timeout_s=4, **low_latency)
    assert all(done.codes)
    for rank in (0, 1, 3):
        assert f"[rank {rank}] consequence of rank 2 on host node2: {seen}" in done.outputs[rank]
        assert "(seen by sentinels)" in done.outputs[rank]
        assert "in __init__" in done.outputs[rank], "where it stands is not shown"
    assert "[rank 2] frozen" not in done.outputs[2]
