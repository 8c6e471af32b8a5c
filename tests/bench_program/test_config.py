"""config.yaml: what is read, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from deepep_bench.config import check_for_world, load_config
from deepep_bench.errors import RefusedError
from deepep_bench.gpu import PARTS

from compiler.report import evidence
from tests.bench_program.launch import write_config


def test_values_keep_their_types(tmp_path: Path) -> None:
    path = write_config(tmp_path / "config.yaml", round_scale=True, num_sms=None, process_group_timeout_s=5)
    config = load_config(path)
    assert (config.tokens, config.data_type, config.round_scale, config.num_sms) == (
        24,
        "bfloat16",
        True,
        None,
    )
    assert config.process_group_timeout_s == 5.0
    assert config.stall_s == 5.0
    assert config.num_qps_per_rank is None


def test_comments_and_empty_lines_are_fine(tmp_path: Path) -> None:
    path = write_config(tmp_path / "config.yaml")
    path.write_text(f"# a comment\n---\n\n{path.read_text()}\n")
    assert load_config(path).hidden_size == 512


def test_command_line_wins(tmp_path: Path) -> None:
    path = write_config(tmp_path / "config.yaml", seed=1)
    assert load_config(path, {"seed": "99"}).seed == 99


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tokens: 5", ":11: tokens is given twice"),
        ("tokns: 5", ":11: unknown key 'tokns'"),
        ("just text", ":11: expected 'key: value'"),
        ("  round_scale: true", ":11: expected 'key: value'"),
        ("round_scale: yes", ":11: round_scale = yes is not a JSON scalar"),
        ("round_scale: 1", ":11: round_scale = 1: must be true or false"),
        ("num_sms: 1.5", "must be a whole number"),
        ("num_sms: true", "must be a whole number"),
        ("num_sms: 0", "must be at least 1"),
        ("process_group_timeout_s: NaN", "must be finite"),
        ("process_group_timeout_s: 0", "must be at least 1"),
        ("round_scale: null", "must be true or false"),
    ],
)
def test_bad_lines_are_refused_with_their_place(tmp_path: Path, line: str, message: str) -> None:
    path = write_config(tmp_path / "config.yaml")
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(RefusedError) as refused:
        load_config(path)
    assert message in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_topk": 17}, "cannot select more experts than num_experts = 16"),
        ({"data_type": "fp8", "hidden_size": 500}, "use a multiple of 128"),
        ({"use_ue8m0": True}, "needs round_scale = true"),
        ({"data_type": "float32"}, "must be one of bfloat16, fp8"),
        ({"mode": "fast"}, "must be one of standard, low_latency"),
        ({"num_iterations": 0}, "must be at least 1"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        load_config(write_config(tmp_path / "config.yaml", **changes))


def test_all_findings_come_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text('tokens: "1"\nmode: "x"\n')
    with pytest.raises(RefusedError) as refused:
        load_config(path)
    for part in (":1: tokens", ":2: mode", "num_experts is missing", "backend is missing"):
        assert part in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="cannot read"):
        load_config(tmp_path / "none.yaml")


def test_experts_must_divide_over_the_ranks(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path / "config.yaml"))
    check_for_world(config, 8)
    with pytest.raises(RefusedError, match="over 6 ranks; use 12 or 18"):
        check_for_world(config, 6)


def test_the_report_knows_every_part_that_is_measured() -> None:
    assert set(evidence.PARTS) == set(PARTS)
