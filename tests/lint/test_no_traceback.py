"""Whatever the input, ``lint`` ends with an exit code and never with an exception.

The short version of ``python -m tests.lint.fuzz``, and what longer runs found.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.cli.main import run
from tests.document.toml_text import documents
from tests.lint.fuzz import FORMATS, OPTIONS, check, folders, variant

LOOSE = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=60, deadline=None, suppress_health_check=LOOSE)
@given(folders(), st.sampled_from(FORMATS), OPTIONS, st.integers(0, 2**32))
def test_folders_with_wild_values(
    files: dict[str, bytes], format_name: str, options: list[str], chance: int
) -> None:
    chosen = ["--format", format_name, *options]
    check(files, chosen)
    check(variant(files, Random(chance)), chosen)  # noqa: S311


@settings(max_examples=40, deadline=None, suppress_health_check=LOOSE)
@given(documents())
def test_any_toml(text: str) -> None:
    check({"scenario.toml": text.encode(), "tests/x.toml": text.encode()}, ["--format", "json"])


@settings(max_examples=60, deadline=None, suppress_health_check=LOOSE)
@given(st.binary(max_size=40))
def test_any_bytes(content: bytes) -> None:
    check({"scenario.toml": b'name = "x"\n' + content}, ["--format", "text"])


FOUND = {
    "a hexadecimal number too long to print": b"cmd_args = {data_type = {a = 0x" + b"f" * 4000 + b"}}",
    "a quoted surrogate": b'name = "\\uD800"',
    "a number of 5,000 digits": b"num_nodes = " + b"9" * 5000,
    "5,000 nested arrays": b"x = " + b"[" * 5000 + b"]" * 5000,
    "5,000 nested tables": b"x = " + b"{a = " * 5000 + b"1" + b"}" * 5000,
    "NUL bytes": b"name = 'x'\n\0\0\0",
    "a byte that is not UTF-8 behind a mark": b"\xef\xbb\xbfname = '\xe9'",
    "only a carriage return": b"a = 1\rb = 2",
    "not a number, everywhere": b"[[Tests]]\nid = nan\nnum_nodes = [nan, nan]\nsol = nan\ntime_limit = inf",
}


@pytest.mark.parametrize("name", FOUND)
def test_found(name: str) -> None:
    for format_name in FORMATS:
        content = b'test_template_name = "DeepEPBenchmark"\n' + FOUND[name]
        check({"scenario.toml": FOUND[name], "tests/t.toml": content}, ["--format", format_name])


def test_a_file_of_50_mb_takes_bounded_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One long value, many keys, and a long line with an error."""
    path = tmp_path / "x.toml"
    head = b'name = "x"\ndescription = "y"\ntest_template_name = "DeepEPBenchmark"\n'
    path.write_bytes(head + b'[cmd_args]\nmode = "' + b"x" * 50_000_000 + b'"\n')
    assert run(["lint", str(path)]) == 1
    assert "DEP108" in capsys.readouterr().out
    path.write_bytes(b'name = "' + b"x" * 50_000_000 + b"\n")
    assert run(["lint", str(path)]) == 1
    assert "DEP103" in capsys.readouterr().out


def test_places_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dir.toml").mkdir()
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "circle").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "pipe.toml")
    assert run(["lint", str(tmp_path)]) == 1
    assert capsys.readouterr().out.count("error[DEP101]") == 3
    for path in ("loop.toml", "dir.toml", "pipe.toml", "a", "x\0y", "n" * 5000):
        assert run(["lint", str(tmp_path / path)]) in (1, 2)


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root every file can be read: the system's refusal is played."""
    path = tmp_path / "x.toml"
    path.write_text("", encoding="utf-8")

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert run(["lint", str(path)]) == 1
