"""Preflight over real SSH, between hosts that have a network of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.lab import Lab
from tests.conftest import REPO

pytestmark = pytest.mark.cluster

COMPILER = Path(sys.executable).with_name("deepep-compiler")
SCENARIO = """
name = "look"

[[Tests]]
id = "pair"
test_name = "small"
num_nodes = 2
time_limit = "00:02:00"
"""
TEST = """
name = "small"
description = "two hosts"
test_template_name = "DeepEPBenchmark"

[cmd_args]
tokens = 16
num_experts = 4
num_topk = 2
hidden_size = 256
"""


def examine(
    lab: Lab, folder: Path, **variables: Any
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Runs ``--preflight-only`` on two hosts; returns what it said and preflight.json."""
    (folder / "tests").mkdir(exist_ok=True)
    (folder / "scenario.toml").write_text(SCENARIO)
    (folder / "tests" / "small.toml").write_text(TEST)
    settings = {
        "deepep_container_runtime": "none",
        "deepep_backend": "gloo",
        "deepep_gpus_per_node": 1,
        "deepep_python": str(REPO / ".venv-torch" / "bin" / "python"),
        **variables,
    }
    inventory = lab.inventory(folder / "hosts.yml", hosts=lab.hosts[:2], variables=settings)
    done = lab.controller.run(
        COMPILER, "run", folder / "scenario.toml", "--inventory", inventory, "--preflight-only",
        "-o", folder / "bundle", "--results-dir", folder / "results",
    )  # fmt: skip
    (tree,) = (folder / "results").iterdir()
    return done, json.loads((tree / "preflight.json").read_text())


def test_hosts_that_reach_each_other_pass_and_nothing_is_left(lab: Lab, tmp_path: Path) -> None:
    for host in lab.hosts[:2]:
        host.forget()
    done, found = examine(lab, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (found["hosts"], found["refused"]) == ({"node1": "pass", "node2": "pass"}, {})
    assert f"reaches node1 at {lab.hosts[0].address}" in done.stdout
    for host in lab.hosts[:2]:
        assert not host.of_benchmark()
        assert not host.exists("/var/tmp/deepep-root")  # noqa: S108 - the default work directory


def test_a_firewall_between_hosts_is_found_before_a_rendezvous_waits(lab: Lab, tmp_path: Path) -> None:
    first, second = lab.hosts[:2]
    rule = ("ip", "saddr", second.address, "tcp", "dport", "!=", "22", "drop")
    first.run("nft", "add", "table", "inet", "wall")
    first.run("nft", "add", "chain", "inet", "wall", "in", "{ type filter hook input priority 0; }")
    first.run("nft", "add", "rule", "inet", "wall", "in", *rule)
    try:
        done, found = examine(lab, tmp_path)
    finally:
        first.run("nft", "delete", "table", "inet", "wall")
    assert done.returncode == 3, done.stdout + done.stderr
    assert list(found["refused"]) == ["pair/0"]
    assert "host node2 did not pass its preflight: does not reach node1" in found["refused"]["pair/0"]
    assert "open the firewall between the hosts" in done.stdout
