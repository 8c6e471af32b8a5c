"""What a host says of its network adapters, and what limit follows from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.report.host_judge import limits_of, read_hardware
from compiler.resources import host_code

host_code()

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
    ("ports", "gpus", "nominal", "ceiling"),
    [
        ([NDR] * 8, 8, 50.0, 50.0),
        ([*[NDR] * 8, ROCE, DOWN], 8, 50.0, 50.0),
        ([NDR] * 9, 8, 50.0, 100.0),
        ([NDR] * 16, 8, 100.0, 100.0),
        ([NDR] * 4, 8, 50.0, 50.0),
        ([DOWN], 8, None, 100.0),
        ([], 8, None, 100.0),
    ],
    ids=["one each", "storage beside", "one to spare", "two each", "shared", "all down", "none"],
)
def test_the_limit_of_the_network(
    tmp_path: Path, ports: list[tuple[str, str, str]], gpus: int, nominal: float | None, ceiling: float
) -> None:
    """GB/s per GPU: the ratio is to what a GPU's own adapters carry; INVALID is above what is possible."""
    network = _infiniband(sysfs(tmp_path / "sys", *ports))
    file = tmp_path / "node-n1.toml"
    tables = {"network": {key: "null" if value is None else value for key, value in network.items()}}
    cards = [{"name": "NVIDIA H100 80GB HBM3"} for _ in range(gpus)]
    file.write_text(dumps({**tables, "gpus": cards}), encoding="utf-8")
    limit = limits_of(read_hardware([file]))["wire_rdma_bw"]
    assert (limit.nominal, limit.ceiling) == (nominal, ceiling)
    assert ("not known" in limit.source) == (nominal is None)
