"""Counters of adapters around a run, and what the judge makes of them."""

from __future__ import annotations

import json
from pathlib import Path

from compiler.resources import host_code
from tests.preflight import machines

host_code()

from deepep_host import counters  # noqa: E402
from deepep_host.assemble import target_of  # noqa: E402


def test_counters_that_rise_are_kept_with_their_delta(tmp_path: Path) -> None:
    tree = machines.Tree(tmp_path / "m")
    machines.adapter(tree, "mlx5_0")
    machines.adapter(tree, "mlx5_1")
    top = tmp_path / "m/root/sys/class/infiniband"
    before = counters.read(top)
    assert before["mlx5_1/1/symbol_error"] == 0
    assert "mlx5_0/1/lifespan" not in before
    tree.file("/sys/class/infiniband/mlx5_1/ports/1/counters/symbol_error", "7")
    tree.file("/sys/class/infiniband/mlx5_0/ports/1/counters/port_xmit_data", "123456789")
    tree.file("/sys/class/infiniband/mlx5_0/ports/1/hw_counters/out_of_sequence", "N/A (no PMA)")
    path = tmp_path / "logs" / counters.FILE
    counters.keep(path, before, top)
    kept = json.loads(path.read_text())
    assert kept["delta"] == {"mlx5_0/1/port_xmit_data": 123456789, "mlx5_1/1/symbol_error": 7}
    assert set(kept["before"]) - set(kept["after"]) == {"mlx5_0/1/out_of_sequence"}
    assert target_of(f"logs/{counters.FILE}", "node1") == "logs/node1.counters.json"


def test_without_adapters_there_is_no_file(tmp_path: Path) -> None:
    counters.keep(tmp_path / "x.json", counters.read(tmp_path), tmp_path)
    assert not (tmp_path / "x.json").exists()
