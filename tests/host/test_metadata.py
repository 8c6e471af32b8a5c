"""What a host says of its network adapters, and what limit follows from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compiler.report.host_judge import limits_of, ratio_to_limit, read_hardware
from compiler.resources import host_code

host_code()

from deepep_host.judge.limits import nvlink_of  # noqa: E402
from deepep_host.metadata import _infiniband  # noqa: E402
from deepep_host.toml_writer import dumps  # noqa: E402

NDR = ("4: ACTIVE", "400 Gb/sec (4X NDR)", "InfiniBand")
ROCE = ("4: ACTIVE", "100 Gb/sec (4X EDR)", "Ethernet")
DOWN = ("1: DOWN", "10 Gb/sec (4X SDR)", "InfiniBand")
"""state, rate and link_layer as the kernel writes them (drivers/infiniband/core/sysfs.c)."""


def sysfs(top: Path, *ports: tuple[str, str, str]) -> Path:
    for number, (state, rate, layer) in enumerate(ports):
        folder = top / f"mlx5_{number}" / "ports" / "1"
        folder.mkdir(parents=True)
        for name, text in (("state", state), ("rate", rate), ("link_layer", layer)):
            (folder / name).write_text(text + "\n", encoding="ascii")
    return top


def test_every_port_is_named_and_active_ones_have_rates(tmp_path: Path) -> None:
    assert _infiniband(sysfs(tmp_path, NDR, DOWN, ROCE)) == {
        "infiniband": ["mlx5_0", "mlx5_1", "mlx5_2"],
        "infiniband_ports": [
            "mlx5_0/1: ACTIVE, InfiniBand, 400 Gb/sec (4X NDR)",
            "mlx5_1/1: DOWN, InfiniBand, 10 Gb/sec (4X SDR)",
            "mlx5_2/1: ACTIVE, Ethernet, 100 Gb/sec (4X EDR)",
        ],
        "infiniband_rates": ["400 Gb/sec (4X NDR)", "100 Gb/sec (4X EDR)"],
    }
    assert set(_infiniband(tmp_path / "none").values()) == {None}


@pytest.mark.parametrize(
    ("ports", "gpus", "rate"),
    [
        ([NDR] * 8, 8, 50.0),
        ([*[NDR] * 8, ROCE, DOWN], 8, 50.0),
        ([NDR] * 9, 8, 50.0),
        ([NDR] * 16, 8, 100.0),
        ([NDR] * 4, 8, 50.0),
        ([DOWN], 8, None),
        ([], 8, None),
    ],
    ids=["one each", "storage beside", "one to spare", "two each", "shared", "all down", "none"],
)
def test_the_limit_of_the_network(
    tmp_path: Path, ports: list[tuple[str, str, str]], gpus: int, rate: float | None
) -> None:
    """GB/s per GPU: one figure for the ratio and for INVALID."""
    file = metadata(tmp_path, ports, gpus)
    limit = limits_of(read_hardware([file]))["wire_rdma_bw"]
    assert (limit.rate, limit.known) == (100.0 if rate is None else rate, rate is not None)
    assert ("not known" in limit.source) == (rate is None)
    assert ratio_to_limit("wire_rdma_bw", limit.rate, {"wire_rdma_bw": limit}) == (1.0 if rate else None)


def test_adapters_that_preflight_did_not_choose_carry_no_tokens(tmp_path: Path) -> None:
    """Storage adapters may be as fast: of 16 ports the runs use the 8 that preflight chose."""
    file = metadata(tmp_path, [NDR] * 16, 8)
    assert limits_of(read_hardware([file], tmp_path))["wire_rdma_bw"].rate == 100.0
    adapters = [{"name": f"mlx5_{number}", "active": True} for number in range(8)]
    (tmp_path / "n1.json").write_text(json.dumps({"facts": {"adapters": adapters}}), encoding="utf-8")
    assert limits_of(read_hardware([file], tmp_path))["wire_rdma_bw"].rate == 50.0


def metadata(top: Path, ports: list[tuple[str, str, str]], gpus: int) -> Path:
    network = _infiniband(sysfs(top / "sys", *ports))
    file = top / "node-n1.toml"
    tables = {"network": {key: "null" if value is None else value for key, value in network.items()}}
    cards = [{"name": "NVIDIA H100 80GB HBM3"} for _ in range(gpus)]
    file.write_text(dumps({**tables, "gpus": cards}), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("gpu", "rate"),
    [
        ("NVIDIA GH200 480GB", 450.0),
        ("NVIDIA GB200", 900.0),
        ("NVIDIA H200 NVL", 450.0),
        ("NVIDIA H20-3e", 450.0),
        ("NVIDIA H100 PCIe", 300.0),
        ("NVIDIA A100-SXM4-80GB", 300.0),
        ("NVIDIA A30", 100.0),
        ("NVIDIA L40S", None),
    ],
)
def test_nvlink_by_the_name_of_the_gpu(gpu: str, rate: float | None) -> None:
    found = nvlink_of(gpu)
    assert (found.rate if found else None) == rate
