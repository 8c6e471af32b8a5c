from __future__ import annotations

import io
import json
from pathlib import Path

import jsonschema
import pytest

from compiler.diagnostics.codes import CODES, code_of, finding
from compiler.diagnostics.model import Diagnostic, Place, Severity
from compiler.diagnostics.render import count, render, wants_colour
from compiler.schema import store


def shown(diagnostic: Diagnostic, folder: Path) -> str:
    return render([diagnostic]).replace(f"{folder}/", "")


def at(folder: Path, text: str, *path: str | int, on_key: bool = False) -> Place:
    file = folder / "x.toml"
    file.write_text(text, encoding="utf-8")
    return Place(file, path, on_key)


def test_a_block(tmp_path: Path) -> None:
    place = at(tmp_path, "a = 1\n[cmd_args]\nnum_experts = 288\n", "cmd_args", "num_experts")
    one = Diagnostic(
        "DEP301", Severity.ERROR, "288 experts\tover 64 ranks", place, "line one\nline two", "use 256"
    )
    assert shown(one, tmp_path) == (
        "error[DEP301] experts-not-divisible\n"
        " --> x.toml:3:15\n"
        "  |\n"
        "3 | num_experts = 288\n"
        "  |               ^^^ 288 experts\\u0009over 64 ranks\n"
        "  = why: line one\n"
        "         line two\n"
        "  = fix: use 256\n\n"
    )


def test_tabs_and_wide_characters_keep_the_caret_in_place(tmp_path: Path) -> None:
    place = at(tmp_path, "\ta = ['漢字', 'x']\n", "a", 1)
    lines = shown(finding("bad-value", "m", place), tmp_path).split("\n")
    assert lines[3] == "1 |     a = ['漢字', 'x']"
    assert lines[4] == "  | " + " " * 17 + "^^^ m"


def test_a_span_over_several_lines_is_marked_on_its_first(tmp_path: Path) -> None:
    place = at(tmp_path, "a = [\n1,\n]\n", "a")
    assert "1 | a = [\n  |     ^ m\n" in shown(finding("bad-value", "m", place), tmp_path)


def test_long_lines_are_shown_around_the_span(tmp_path: Path) -> None:
    place = at(tmp_path, f"a = ['{'x' * 10_000}', 12]\n", "a", 1)
    text = shown(finding("bad-value", "m", place), tmp_path)
    assert max(map(len, text.split("\n"))) < 200
    source, caret = text.split("\n")[3:5]
    assert source[caret.index("^") :].startswith("12]")


def test_what_could_confuse_a_terminal_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"a = '\x1b[31m\xe2\x80\xae'\n")
    text = shown(finding("bad-value", "value \x1b[0m", Place(path, line=1, column=5)), tmp_path)
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_without_a_place_and_without_a_file(tmp_path: Path) -> None:
    assert render([finding("inventory-empty", "m", None, why="w", fix="f")]) == (
        "error[DEP602] inventory-empty\n   m\n = why: w\n = fix: f\n\n"
    )
    nowhere = shown(finding("unreadable-file", "m", Place(tmp_path / "x.toml"), why="w", fix="f"), tmp_path)
    assert nowhere == "error[DEP101] unreadable-file\n--> x.toml\n | m\n = why: w\n = fix: f\n\n"


def test_order_is_file_by_file_from_top_to_bottom_each_once(tmp_path: Path) -> None:
    text = "a = 1\nb = 2\n"
    second = finding("bad-value", "second", at(tmp_path, text, "b"))
    first = finding("bad-value", "first", at(tmp_path, text, "a"))
    shown_text = render([second, first, second])
    assert shown_text.index("first") < shown_text.index("second")
    assert shown_text.count("second") == 1
    assert count([second, first, second], Severity.ERROR) == 2


def test_json_fits_its_schema(tmp_path: Path) -> None:
    place = at(tmp_path, "a = {b = 'é', c = 1}\n", "a", "c")
    document = json.loads(
        render([finding("bad-value", "m", place), finding("inventory-empty", "n", None)], "json")
    )
    jsonschema.validate(document, store.load("diagnostics"))
    assert document["summary"] == {"errors": 2, "warnings": 0, "infos": 0}
    record = document["diagnostics"][1]
    assert (record["key"], record["line"], record["column"], record["end_column"]) == ("a.c", 1, 19, 20)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_only_on_a_terminal_and_not_with_no_color(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())
    one = finding("bad-value", "m", at(tmp_path, "a = 1\n", "a"))
    assert "\x1b[1;31merror" in render([one], colour=True)
    assert "\x1b" not in render([one])


def test_codes_are_unique_and_tell_a_story() -> None:
    names = [name for code in CODES for name in (code.code, code.slug)]
    assert len(names) == len(set(names))
    for code in CODES:
        assert code.title and code.why and code.fix, code.code
        assert code_of(code.code) is code_of(code.slug)
