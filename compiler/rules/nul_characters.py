"""NUL characters: TOML can write them, but no argument, path or environment variable can hold them."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic, KeyPath
from compiler.diagnostics.wording import key_text
from compiler.rules.model import TestTable


def anywhere(table: TestTable) -> Iterator[Diagnostic]:
    """Reports every text and key with a NUL."""
    stack: list[tuple[KeyPath, object]] = [((key,), value) for key, value in table.data.items()]
    while stack:
        path, value = stack.pop()
        key = path[-1]
        if isinstance(key, str) and "\0" in key:
            text = f"the key {key_text(path)} holds a NUL character"
            yield finding("nul-character", text, table.place(*path, on_key=True))
        if isinstance(value, str):
            if "\0" in value:
                yield finding("nul-character", f"{key_text(path)} holds a NUL character", table.place(*path))
        elif isinstance(value, dict):
            stack += [((*path, name), item) for name, item in value.items()]
        elif isinstance(value, list):
            stack += [((*path, number), item) for number, item in enumerate(value)]
