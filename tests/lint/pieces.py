"""Lints examples and cases written as pieces of files; tells findings by code, file, line, column.

In a text a mark stands before the character at which a finding is expected: an example's bare one, or a
case's with the code's digits and a closing bracket.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from compiler.cli.main import _parser
from compiler.cli.options import projects
from compiler.diagnostics.locate import Locator
from compiler.diagnostics.model import Diagnostic
from compiler.diagnostics.story import MARK
from compiler.inventory.listing import read_listing
from compiler.inventory.model import Inventory
from compiler.lint import lint

HEAD = {"name": "t", "description": "a test", "test_template_name": "DeepEPBenchmark"}
ENTRY = {"id": "A", "test_name": "t", "time_limit": "00:30:00"}
LOCAL = {
    "ansible_connection": "local",
    "deepep_container_runtime": "none",
    "deepep_backend": "gloo",
    "deepep_gpus_per_node": 2,
    "deepep_python": "/opt/torch/bin/python",
}
"""Variables of a host, under what a piece says."""

ANY_MARK = re.compile(MARK + "(?:([0-9]{3})\N{MATHEMATICAL RIGHT WHITE SQUARE BRACKET})?")

Row = tuple[str, str, int | None, int | None]
"""Code, file, line, column."""


def _keys(text: str) -> set[str]:
    """The first parts of the keys that a text sets before its first table."""
    first = re.split(r"(?m)^\s*\[", ANY_MARK.sub("", text))[0]
    return {found[1] for found in re.finditer(r"(?m)^\s*([A-Za-z_]+)\b[^\n=]*=", first)}


def _lines(defaults: Mapping[str, str], text: str) -> str:
    plain = ANY_MARK.sub("", text)
    return "".join(f'{key} = "{value}"\n' for key, value in defaults.items() if key not in _keys(plain))


def files(pieces: Mapping[str, Any]) -> dict[str, str]:
    """Returns the files that the pieces stand for, with marks."""
    test, cmd_args = pieces.get("test", ""), pieces.get("cmd_args", "")
    found = {"tests/t.toml": _lines(HEAD, test) + test.rstrip("\n") + "\n"}
    if "[cmd_args]" not in test and "cmd_args" not in _keys(test):
        body = "[cmd_args]\n" + cmd_args.rstrip("\n") + "\n"
        first = re.search(r"(?m)^\[", test)
        if first is None:
            found["tests/t.toml"] += body
        else:
            found["tests/t.toml"] = _lines(HEAD, test) + test[: first.start()] + body + test[first.start() :]
    if "scenario" in pieces:
        found["scenario.toml"] = pieces["scenario"].lstrip("\n")
    else:
        entry = pieces.get("entry", "")
        found["scenario.toml"] = f'name = "s"\n[[Tests]]\n{_lines(ENTRY, entry)}{entry.rstrip(chr(10))}\n'
    for name in ("system", "settings"):
        if name in pieces:
            file = "deepep-compiler.toml" if name == "settings" else "system.toml"
            found[file] = pieces[name].lstrip("\n")
    found.update(pieces.get("files", {}))
    return found


def inventory(text: str) -> tuple[Inventory | None, list[Diagnostic]]:
    """Returns four hosts n1 to n4 with these variables, or the hosts that the text names."""
    said = yaml.safe_load(text)
    hosts = said["hosts"] if "hosts" in said else dict.fromkeys(["n1", "n2", "n3", "n4"], said)
    hostvars = {
        name: {key: value for key, value in {**LOCAL, **own}.items() if value is not None}
        for name, own in hosts.items()
    }
    names = list(hosts)
    listing = {
        "_meta": {"hostvars": hostvars},
        "all": {"children": ["ungrouped", "GAIA", "standard_nodes"]},
        "GAIA": {"hosts": names},
        "standard_nodes": {"hosts": names},
    }
    return read_listing(listing, "inventory", [Path("/inventory")])


def run(folder: Path, pieces: Mapping[str, Any]) -> tuple[list[Diagnostic], list[Row], list[Row]]:
    """Writes the pieces below ``folder`` and lints it; returns findings, their rows, and the marks' rows.

    The row of a mark without a code has an empty one.
    """
    marks: list[Row] = []
    for name, text in files(pieces).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for number, line in enumerate(text.split("\n"), start=1):
            before = 0
            for found in ANY_MARK.finditer(line):
                code = f"DEP{found[1]}" if found[1] else ""
                marks.append((code, name, number, found.start() - before + 1))
                before += len(found[0])
        content = ANY_MARK.sub("", text).encode()
        if pieces.get("newline"):
            content = content.replace(b"\n", pieces["newline"].encode())
        if pieces.get("bom"):
            content = b"\xef\xbb\xbf" + content
        path.write_bytes(content)
    options: Sequence[str] = pieces.get("options", ())
    args = _parser("lint").parse_args(["lint", *options, str(folder)])
    chosen = projects(args)
    assert chosen is not None, options
    text = pieces.get("inventory")
    result = lint(
        [folder], inventory=None if text is None else lambda: inventory(text), projects=chosen
    )  # as the command does
    locator = Locator()
    rows = []
    for one in result.diagnostics:
        location = locator.locate(one.place) if one.place else None
        file = location.file.relative_to(folder).as_posix() if location else ""
        rows.append((one.code, file, location and location.line, location and location.column))
    return result.diagnostics, rows, marks


def tables(path: Path) -> list[dict[str, Any]]:
    """Returns the cases of a file."""
    found: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["case"]
    return found
