"""``explain``: the whole story of every code."""

from __future__ import annotations

import pytest

from compiler.cli.main import run
from compiler.diagnostics.codes import CODES, Code, all_codes
from compiler.rules.kernels.registry import RULES


@pytest.mark.parametrize("code", all_codes(), ids=lambda code: code.slug)
def test_every_code_has_a_story(code: Code, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", code.slug]) == 0
    story = capsys.readouterr().out
    assert story.startswith(f"{code.code} {code.slug} ({code.severity.value})\n")
    for part in (code.why, "switch:", "\nbad:\n    ", "\ngood:\n    "):
        assert part in story
    assert run(["explain", code.code.lower()]) == 0
    assert capsys.readouterr().out == story


def test_kernel_rules_tell_their_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "internode-groups"]) == 0
    story = capsys.readouterr().out
    assert "csrc/kernels/launch.cuh:62-71" in story
    assert "c939644" in story


def test_all_codes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CODES) + len(RULES)
    assert lines == sorted(lines)


def test_unknown_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "experts-not-divisble"]) == 2
    assert "did you mean experts-not-divisible?" in capsys.readouterr().err


def test_codes_and_slugs_are_unique_over_all() -> None:
    codes = all_codes()
    assert len({code.code for code in codes}) == len({code.slug for code in codes}) == len(codes)
