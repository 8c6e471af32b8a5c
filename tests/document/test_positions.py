from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.diagnostics.locate import Locator
from compiler.diagnostics.model import KeyPath, Place
from compiler.document.model import Document
from compiler.document.positions import Positions, Span
from compiler.document.read import read_document
from tests.document.toml_text import documents


def paths_of(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield (*path, key), child
        yield from paths_of(child, (*path, key))


def cut(text: str, span: Span) -> str:
    lines = text.split("\n")[span.line - 1 : span.end_line]
    lines[-1] = lines[-1][: span.end_column - 1]
    lines[0] = lines[0][span.column - 1 :]
    return "\n".join(lines)


def same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and one == other


@settings(max_examples=120, deadline=None)
@given(documents())
def test_every_path_that_tomli_has_has_a_position(text: str) -> None:
    data = tomli.loads(text)
    positions = Positions(text)
    assert positions.exact
    assert positions.paths() == {path for path, _ in paths_of(data)}


@settings(max_examples=120, deadline=None)
@given(documents())
def test_spans_hold_the_key_and_the_value(text: str) -> None:
    positions = Positions(text)
    for path, value in paths_of(tomli.loads(text)):
        if isinstance(path[-1], str):
            key = positions.span(path, on_key=True)
            assert key is not None
            assert list(tomli.loads(f"{cut(text, key)} = 0")) == [path[-1]]
        if not isinstance(value, dict | list):
            span = positions.span(path, on_key=False)
            assert span is not None
            assert same(tomli.loads(f"x = {cut(text, span)}")["x"], value)


@pytest.mark.parametrize(
    ("text", "path", "on_key", "expected"),
    [
        ("tokens = 10\n", ("tokens",), True, (1, 1, 1, 7)),
        ("tokens = 10\n", ("tokens",), False, (1, 10, 1, 12)),
        ("[cmd_args]\ntokens = 1\n", ("cmd_args",), False, (1, 1, 1, 11)),
        ("[cmd_args]\ntokens = 1\n", ("cmd_args",), True, (1, 2, 1, 10)),
        ("[[Tests]]\nid = 'a'\n[[Tests]]\nid = 'b'\n", ("Tests", 1), False, (3, 1, 3, 10)),
        ("[[Tests]]\nid = 'a'\n[[Tests]]\nid = 'b'\n", ("Tests", 1, "id"), False, (4, 6, 4, 9)),
        ("[[T]]\n[[T.d]]\nid = 1\n[[T.d]]\nid = 2\n", ("T", 0, "d", 1, "id"), False, (5, 6, 5, 7)),
        ("[[T]]\n[T.c]\nx = 1\n", ("T", 0, "c", "x"), False, (3, 5, 3, 6)),
        ("'é' = '漢字'\r\nb = '😀' # x\r\nc = 1\r\n", ("b",), False, (2, 5, 2, 8)),
        ('a.b."c d" = 1\n', ("a", "b", "c d"), True, (1, 5, 1, 10)),
        ("a = {x = 1, y = [1,\n 22]}\n", ("a", "y", 1), False, (2, 2, 2, 4)),
        ("a = [ # comment\n  1, # one\n  2,\n]\n", ("a", 1), False, (3, 3, 3, 4)),
        ('s = """\none\ntwo"""\n', ("s",), False, (1, 5, 3, 7)),
    ],
)
def test_positions_of_constructs(
    text: str, path: KeyPath, on_key: bool, expected: tuple[int, int, int, int]
) -> None:
    tomli.loads(text)
    span = Positions(text).span(path, on_key=on_key)
    assert span is not None
    assert (span.line, span.column, span.end_line, span.end_column) == expected


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(documents(), st.booleans())
def test_places_in_files_are_those_in_their_text(tmp_path: Path, text: str, mark: bool) -> None:
    """Through the file, with and without a byte order mark: what is shown is the span's own line."""
    path = tmp_path / "x.toml"
    path.write_bytes((b"\xef\xbb\xbf" if mark else b"") + text.encode())
    document = read_document(path)
    assert isinstance(document, Document)
    assert document.text == text
    positions, locator = Positions(text), Locator()
    lines = text.split("\n")
    for where, _ in paths_of(document.data):
        for on_key in (True, False):
            found, span = locator.locate(Place(path, where, on_key)), positions.span(where, on_key=on_key)
            assert span is not None
            assert (found.line, found.column) == (span.line, span.column)
            assert (found.end_line, found.end_column) == (span.end_line, span.end_column)
            assert found.source == lines[span.line - 1].rstrip("\r")


def test_missing_path_falls_back_to_its_table() -> None:
    span = Positions("[cmd_args]\ntokens = 1\n").span(("cmd_args", "mode"), on_key=False)
    assert span == Span(1, 2, 1, 10)


def test_toml_1_1_falls_back_to_the_line() -> None:
    text = "name = 'x'\n[cmd_args]\ntokens = 1\nextra = {\n  a = 1,\n}\nmode = 'fast'\n"
    assert tomli.loads(text)["cmd_args"]["mode"] == "fast"
    positions = Positions(text)
    assert not positions.exact
    assert positions.span(("cmd_args", "mode"), on_key=False) == Span(7, 1, 7, 14)
