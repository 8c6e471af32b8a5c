"""Rules about one test, and about the points of an entry's sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenario.builder import Row, entry, load


@pytest.mark.parametrize(
    ("test", "rows"),
    [
        ("[cmd_args]\n[extra_env_vars]\nA = '$(id)'\n", [("shell-in-env", "standard.toml", 6, 5)]),
        ("[cmd_args]\n[extra_env_vars]\nA = ['x', '`id`']\n", [("shell-in-env", "standard.toml", 6, 11)]),
        ("[cmd_args]\n[extra_env_vars]\nA = '$HOME/${USER}'\n", []),
        ("[cmd_args]\n[extra_env_vars]\nMASTER_PORT = '1'\n", [("env-overridden", "standard.toml", 6, 1)]),
        ("predictor = {}\n[cmd_args]\n", [("no-effect", "standard.toml", 4, 1)]),
        ("[cmd_args]\nnum_topk = 512\n", [("topk-exceeds-experts", "standard.toml", 5, 12)]),
        ("[cmd_args]\nnum_experts = 4\n", [("topk-exceeds-experts", "standard.toml", 5, 15)]),
        ("[cmd_args]\nnum_topk = [4, 300]\n", [("topk-exceeds-experts", "standard.toml", 5, 16)]),
        (
            "[cmd_args]\nuse_ue8m0 = true\ndata_type = 'fp8'\n",
            [("ue8m0-needs-round-scale", "standard.toml", 5, 13)],
        ),
        ("[cmd_args]\nuse_ue8m0 = true\nround_scale = true\ndata_type = 'fp8'\n", []),
        ("[cmd_args]\nround_scale = true\n", [("argument-no-effect", "standard.toml", 5, 15)]),
        ("[cmd_args]\nround_scale = true\ndata_type = ['bfloat16', 'fp8']\n", []),
        (
            "[cmd_args]\nallow_nvlink_for_low_latency = true\n",
            [("argument-no-effect", "standard.toml", 5, 32)],
        ),
        (
            "dse_excluded_args = ['cmd_args.tokens']\n[cmd_args]\ntokens = [1, 2]\n",
            [("list-not-allowed", "standard.toml", 6, 10)],
        ),
        (
            "dse_excluded_args = 'cmd_args.token'\n[cmd_args]\n",
            [("excluded-unknown", "standard.toml", 4, 21)],
        ),
        (
            "dse_excluded_args = 'cmd_args.tokens'\n[cmd_args]\ntokens = 1\n",
            [("no-effect", "standard.toml", 4, 21)],
        ),
    ],
)  # fmt: skip
def test_rules(tmp_path: Path, test: str, rows: list[Row]) -> None:
    assert load(tmp_path, entry(), test).rows == rows


def test_an_override_takes_the_blame(tmp_path: Path) -> None:
    assert load(tmp_path, entry("cmd_args.num_topk = 512"), "[cmd_args]\nnum_topk = 8\n").rows == [
        ("topk-exceeds-experts", "scenario.toml", 6, 21)
    ]


def test_overrides_are_checked_against_the_tests_workload(tmp_path: Path) -> None:
    assert load(tmp_path, entry("cmd_args.tokns = 1\ncmd_args.mode = 'fast'")).rows == [
        ("unknown-key", "scenario.toml", 6, 10),
        ("bad-value", "scenario.toml", 7, 17),
    ]


def test_an_environment_value_that_linux_cannot_pass(tmp_path: Path) -> None:
    text = "[cmd_args]\n[extra_env_vars]\nA = '{}'\n"
    assert load(tmp_path, entry(), text.format("x" * (128 * 1024 - 3))).slugs == []
    assert load(tmp_path, entry(), text.format("x" * (128 * 1024 - 2))).slugs == ["env-too-long"]
    assert load(tmp_path, entry(), text.format("漢" * 50_000)).slugs == ["env-too-long"]
