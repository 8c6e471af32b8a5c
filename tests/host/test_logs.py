"""``logs -f``: every complete line once, also of a file that grows, and none of it kept in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.cli.logs import _print_new


def test_lines_are_printed_once_and_when_they_are_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, printed = tmp_path / "log", {}
    key = ("A/0", "n1", "stdout")
    for text, shown in (
        ("one\ntw", "[A/0 n1 stdout] one\n"),
        ("one\ntwo\n", "[A/0 n1 stdout] two\n"),
        ("one\ntwo\n", ""),
        ("new\n", "[A/0 n1 stdout] new\n"),
    ):
        log.write_text(text)
        _print_new(log, key, printed)
        assert capsys.readouterr().out == shown
    _print_new(tmp_path / "absent", key, printed)
    assert capsys.readouterr().out == ""
