"""The largest legal and the smallest illegal value of every limit, and the fix that is offered."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.rules.kernels import check_run
from tests.rules.kernels.build import facts

LOW_LATENCY: dict[str, Any] = {"mode": "low_latency", "tokens": 128}


def codes(backend: str, hosts: int, arguments: dict[str, Any] | None = None, **other: Any) -> set[str]:
    return {finding.code for finding in check_run(facts(backend, hosts, arguments, **other))}


BOUNDARIES: list[tuple[str, str, int, dict[str, Any], str, Any, Any]] = [
    # code, backend, hosts, other arguments, key, last legal value, first illegal value
    ("DEP321", "deepep_v1", 2, {}, "num_topk", 32, 33),
    ("DEP322", "deepep_v1", 12, {"num_experts": 288}, "num_topk", 8, 9),
    ("DEP323", "deepep_v1", 1, {}, "num_experts", 1024, 1032),
    ("DEP324", "deepep_v1", 4, {}, "num_experts", 2048, 2080),
    ("DEP326", "deepep_v1", 1, {}, "hidden_size", 8176, 8192),
    ("DEP326", "deepep_v1", 1, {"data_type": "fp8"}, "hidden_size", 16256, 16384),
    ("DEP328", "deepep_v1", 2, {}, "hidden_size", 7936, 8192),
    ("DEP328", "deepep_v1", 2, {"num_topk": 32, "data_type": "fp8"}, "hidden_size", 7936, 8192),
    ("DEP330", "deepep_v1", 1, {}, "num_sms", 2, 1),
    ("DEP330", "deepep_v1", 1, {}, "num_sms", 132, 133),
    ("DEP331", "deepep_v1", 2, {}, "num_sms", 4, 3),
    ("DEP331", "deepep_v1", 2, {}, "num_sms", 56, 57),
    ("DEP332", "deepep_v1", 2, {}, "num_qps_per_rank", 12, 13),
    ("DEP332", "deepep_v1", 2, {}, "num_qps_per_rank", 24, 23),
    ("DEP332", "deepep_v1", 2, {"num_sms": 20}, "num_qps_per_rank", 20, 19),
    ("DEP333", "deepep_v1", 18, {"num_experts": 288}, "num_sms", 44, 46),
    ("DEP333", "deepep_v1", 6, {"num_experts": 288, "combine_chunks": "4/8"}, "num_sms", 44, 46),
    ("DEP334", "deepep_v1", 1, {}, "dispatch_chunks", "255", "256"),
    ("DEP334", "deepep_v1", 1, {}, "dispatch_chunks", "8/127", "8/128"),
    ("DEP334", "deepep_v1", 2, {}, "dispatch_chunks", "511/4", "512/4"),
    ("DEP334", "deepep_v1", 2, {}, "combine_chunks", "4/12", "4/11"),
    ("DEP334", "deepep_v1", 16, {}, "combine_chunks", "4/32", "4/33"),
    ("DEP334", "deepep_v1", 16, {}, "combine_chunks", "32/8", "33/8"),
    ("DEP334", "deepep_v1", 20, {"num_experts": 320}, "combine_chunks", "4/35", "4/36"),
    ("DEP340", "deepep", 2, LOW_LATENCY, "hidden_size", 8192, 8704),
    ("DEP341", "deepep", 2, LOW_LATENCY, "num_topk", 11, 12),
    ("DEP343", "deepep", 2, LOW_LATENCY, "tokens", 511, 512),
    ("DEP345", "deepep", 1, {**LOW_LATENCY, "tokens": 8}, "num_experts", 1848, 1849),
    ("DEP346", "deepep", 2, LOW_LATENCY, "num_qps_per_rank", 16, 15),
    ("DEP348", "deepep", 2, LOW_LATENCY, "tokens", 255, 256),
    ("DEP363", "deepep_v2", 4, {}, "num_experts", 2048, 2080),
    ("DEP364", "deepep_v2", 1, {}, "num_experts", 2048, 2056),
    ("DEP365", "deepep_v2", 2, {}, "num_experts", 1920, 1936),
    ("DEP366", "deepep_v2", 1, {}, "num_topk", 32, 33),
    ("DEP370", "deepep_v2", 2, {}, "hidden_size", 57600, 57856),
    ("DEP370", "deepep_v2", 1, {}, "hidden_size", 115200, 115456),
    ("DEP371", "deepep_v2", 2, {}, "num_sms", 132, 133),
    ("DEP372", "deepep_v2", 2, {}, "num_qps_per_rank", 129, 130),
]


@pytest.mark.parametrize(("code", "backend", "hosts", "arguments", "key", "legal", "illegal"), BOUNDARIES)
def test_boundary(
    code: str, backend: str, hosts: int, arguments: dict[str, Any], key: str, legal: Any, illegal: Any
) -> None:
    assert code not in codes(backend, hosts, {**arguments, key: legal})
    assert code in codes(backend, hosts, {**arguments, key: illegal})


@pytest.mark.parametrize(
    ("version", "legal"),
    [
        ("1.2.1", {1, 2, 4, 8, 16, 18, 20}),
        ("2.1.0", {1, 2, 3, 4, 6, 8, 12, 16, 18, 20}),
    ],
)
def test_hosts_of_v1_standard(version: str, legal: set[int]) -> None:
    found = {
        hosts
        for hosts in range(1, 26)
        if not codes("deepep_v1", hosts, {"num_experts": 8 * hosts}, version=version) & {"DEP313", "DEP314"}
    }
    assert found == legal


@pytest.mark.parametrize(
    ("ranks", "fits"), [(1, False), (2, True), (3, False), (4, True), (6, False), (8, True)]
)
def test_ranks_of_one_host(ranks: int, fits: bool) -> None:
    found = codes("deepep_v1", 1, {"num_experts": 240}, ranks_per_host=ranks)
    assert ("DEP312" not in found) is fits


@pytest.mark.parametrize("ranks", [*range(1, 9), 16, 24])
def test_whole_groups(ranks: int) -> None:
    assert "DEP311" not in codes("deepep", 1, {**LOW_LATENCY, "num_experts": ranks * 8}, ranks_per_host=ranks)


@pytest.mark.parametrize("ranks", [9, 10, 12, 15, 17, 20])
def test_broken_groups(ranks: int) -> None:
    assert "DEP311" in codes("deepep", 1, {**LOW_LATENCY, "num_experts": ranks * 8}, ranks_per_host=ranks)


def test_four_gpus_per_host_need_nvlink_between_hosts() -> None:
    assert "DEP314" in codes("deepep_v1", 4, ranks_per_host=4, version="2.1.0")
    assert "DEP314" not in codes("deepep_v1", 4, {"allow_mnnvl": True}, ranks_per_host=4, version="2.1.0")
    assert "DEP314" in codes("deepep_v1", 4, {"allow_mnnvl": True}, ranks_per_host=4, version="1.2.1")


def test_sixteen_gpus_per_host_hold_whole_groups() -> None:
    assert "DEP314" not in codes("deepep_v1", 2, ranks_per_host=16)


@pytest.mark.parametrize("hidden", [2048, 2560, 3072, 4096, 5120, 6144, 7168, 8192])
def test_low_latency_sizes(hidden: int) -> None:
    assert "DEP340" not in codes("deepep", 2, {**LOW_LATENCY, "hidden_size": hidden}, version="2.1.0")
    old = codes("deepep", 2, {**LOW_LATENCY, "hidden_size": hidden}, version="1.2.1")
    assert ("DEP340" in old) is (hidden == 3072)


@pytest.mark.parametrize(
    ("depth", "tokens", "fits"), [("2048", 1023, True), ("2048", 1024, False), ("1024", 511, True)]
)
def test_queue_depth_from_the_environment(depth: str, tokens: int, fits: bool) -> None:
    found = codes("deepep", 2, {**LOW_LATENCY, "tokens": tokens}, env={"NVSHMEM_QP_DEPTH": depth})
    assert ("DEP343" not in found) is fits


@pytest.mark.parametrize(("depth", "fits"), [(127, False), (128, True), (32768, True), (32769, False)])
def test_queue_depth_range(depth: int, fits: bool) -> None:
    found = codes("deepep", 2, {**LOW_LATENCY, "tokens": 8}, env={"NVSHMEM_QP_DEPTH": str(depth)})
    assert ("DEP344" not in found) is fits


def test_values_from_the_host_are_not_judged() -> None:
    env = {"NVSHMEM_QP_DEPTH": "$DEPTH", "EP_OVERRIDE_RDMA_SL": "${SL}"}
    for backend in ("deepep_v1", "deepep_v2"):
        assert not codes(backend, 2, env=env) & {"DEP343", "DEP344", "DEP455"}
    assert "DEP343" not in codes("deepep", 2, {**LOW_LATENCY, "tokens": 4096}, env=env)


def test_low_latency_buffer_only_from_2_on() -> None:
    large = {**LOW_LATENCY, "tokens": 511, "num_experts": 1840}
    assert "DEP347" in codes("deepep", 2, large, version="2.1.0")
    assert "DEP347" not in codes("deepep", 2, large, version="1.2.1")


@pytest.mark.parametrize(
    ("backend", "limit", "fits"),
    [
        ("deepep_v1", 100, False),
        ("deepep_v1", 101, True),
        ("deepep_v2", 300, False),
        ("deepep_v2", 301, True),
    ],
)
def test_time_limit(backend: str, limit: int, fits: bool) -> None:
    assert ("DEP381" not in codes(backend, 2, time_limit_s=limit)) is fits


def test_fixes_name_legal_neighbours() -> None:
    def fix(code: str, backend: str, hosts: int, arguments: dict[str, Any], **other: Any) -> str:
        found = check_run(facts(backend, hosts, arguments, **other))
        return next(finding.fix for finding in found if finding.code == code)

    divisible = fix("DEP301", "deepep", 8, {**LOW_LATENCY, "num_experts": 288})
    assert divisible == "use 256 or 320 experts, or run on 6 or 9 hosts"
    assert fix("DEP313", "deepep_v1", 5, {"num_experts": 240}, version="2.1.0") == "run on 4 or 6 hosts"
    assert fix("DEP313", "deepep_v1", 5, {"num_experts": 240}, version="1.2.1") == "run on 4 or 8 hosts"
    assert fix("DEP340", "deepep", 2, {**LOW_LATENCY, "hidden_size": 3000}) == "use 2560 or 3072"
    assert fix("DEP327", "deepep_v1", 2, {"hidden_size": 7900}) == "use 7680 or 7936"
    assert fix("DEP327", "deepep_v1", 2, {"hidden_size": 9000}) == "use 7936"
    assert fix("DEP325", "deepep_v1", 1, {"hidden_size": 9001}) == "use 8176"
