from __future__ import annotations

import os
from pathlib import Path

import pytest

from compiler.diagnostics.codes import code_of
from compiler.diagnostics.model import Diagnostic
from compiler.document.kind import Kind, kind_of
from compiler.document.model import Document
from compiler.document.read import MAX_BYTES, MAX_DEPTH, read_document


def slug(found: Document | Diagnostic) -> str | None:
    code = code_of(found.code) if isinstance(found, Diagnostic) else None
    return code.slug if code else None


def write(folder: Path, content: bytes) -> Path:
    path = folder / "x.toml"
    path.write_bytes(content)
    return path


def test_a_byte_order_mark_is_stripped(tmp_path: Path) -> None:
    document = read_document(write(tmp_path, b"\xef\xbb\xbfname = 'x'\n"))
    assert isinstance(document, Document)
    assert document.data == {"name": "x"}
    assert document.text.startswith("name")


@pytest.mark.parametrize(
    ("content", "expected", "line", "column"),
    [
        (b"a = 'caf\xe9'\n", "not-utf8", 1, 9),
        ("é = 'ü".encode() + b"\xff'\n", "not-utf8", 1, 7),
        ("name = 'x'\n".encode("utf-16"), "not-utf8", 1, 1),
        (b"a = \n", "syntax-error", 1, 5),
        (b"a = 1\r\nb = 2\r\na = 3\r\n", "syntax-error", 3, 6),
        (b"a = 'x\x00y'\n", "syntax-error", 1, 7),
        (b"a = True\n", "syntax-error", 1, 5),
        (b"ok = 1\nx = " + b"9" * 5000 + b"\n", "syntax-error", 2, 5),
        (b"\xef\xbb\xbfa = x\n", "syntax-error", 1, 5),
    ],
)
def test_broken_files_are_findings_with_a_place(
    tmp_path: Path, content: bytes, expected: str, line: int, column: int
) -> None:
    found = read_document(write(tmp_path, content))
    assert slug(found) == expected
    assert isinstance(found, Diagnostic)
    assert found.place is not None
    assert (found.place.line, found.place.column) == (line, column)


@pytest.mark.parametrize(
    "content",
    [
        b"x = " + b"[" * 5000 + b"]" * 5000,
        b"x = " + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b".".join([b"a"] * 5000) + b" = 1\n",
        b"[" + b".".join([b"a"] * 5000) + b"]\n",
        b"x = " + b"{a = " * 5000 + b"1" + b"}" * 5000,
    ],
)
def test_deep_nesting_is_a_finding(tmp_path: Path, content: bytes) -> None:
    assert slug(read_document(write(tmp_path, content))) == "file-limits"


def test_huge_files_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert slug(read_document(path)) == "file-limits"


def test_what_is_no_file_is_a_finding(tmp_path: Path) -> None:
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)
    loop = tmp_path / "loop.toml"
    loop.symlink_to(loop)
    for path in (folder, pipe, loop, tmp_path / "none.toml", Path("/dev/zero"), tmp_path / "x\0y.toml"):
        assert slug(read_document(path)) == "unreadable-file"


@pytest.mark.parametrize(
    ("content", "way_out"),
    [
        ('mode = "standard\n', 'mode = "standard"'),
        ("mode = standard\n", 'mode = "standard"'),
        ("flag = True\n", "true"),
        ("image = None\n", "leave the key out"),
        ("a = 1\na = 2\n", "keep one"),
    ],
)
def test_syntax_errors_say_what_to_write(tmp_path: Path, content: str, way_out: str) -> None:
    found = read_document(write(tmp_path, content.encode()))
    assert isinstance(found, Diagnostic)
    assert way_out in found.fix


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"name": "x", "Tests": []}, Kind.SCENARIO),
        ({"name": "x", "test_template_name": "DeepEPBenchmark"}, Kind.TEST),
        ({"cmd_args": {}}, Kind.TEST),
        ({"scheduler": "slurm"}, Kind.SYSTEM),
        ({"name": "x"}, None),
    ],
)
def test_kind_is_told_by_keys(data: dict[str, object], kind: Kind | None) -> None:
    assert kind_of(data) is kind
