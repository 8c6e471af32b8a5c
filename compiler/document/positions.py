"""Where each key and value of a TOML text stands (tree-sitter). Built only for files that have findings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import tomli
import tree_sitter
import tree_sitter_toml

from compiler.diagnostics.model import KeyPath
from compiler.document.read import MAX_DEPTH


@dataclass(frozen=True, slots=True)
class Span:
    """Lines and columns count characters from 1; the end is exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True)
class KeyValue:
    """Spans of one path. For a table or a list entry written as a header, the value is that header."""

    key: Span
    value: Span


@cache
def _parser() -> tree_sitter.Parser:
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_toml.language()))


def comments(text: str) -> Iterator[tuple[int, int, str]]:
    """Yields line and column (from 1) and text of each comment, in order.

    Where the grammar does not understand the text, whatever follows a ``#`` counts.
    """
    raw = text.encode()
    root = _parser().parse(raw).root_node
    if root.has_error:
        for number, line in enumerate(text.split("\n"), start=1):
            before, mark, after = line.partition("#")
            if mark:
                yield number, len(before) + 1, mark + after
        return
    lines = [] if text.isascii() else raw.split(b"\n")
    stack = [root]
    while stack:
        node = stack.pop()
        if node.type == "comment":
            row, column = node.start_point.row, node.start_point.column
            column = column if not lines else len(lines[row][:column].decode())
            yield row + 1, column + 1, (node.text or b"").decode()
        elif node.child_count:
            stack += reversed(node.children)


class Positions:
    """Positions of all paths of one text. ``exact`` is False where the grammar did not understand all."""

    def __init__(self, text: str) -> None:
        """Takes the text as it was handed to tomli (no byte order mark)."""
        self._lines = text.split("\n")
        self._raw = text.encode()
        self._ascii = text.isascii()
        self._raw_lines = [] if self._ascii else self._raw.split(b"\n")
        self._found: dict[KeyPath, KeyValue] = {}
        self._lengths: dict[KeyPath, int] = {}
        root = _parser().parse(self._raw).root_node
        self.exact = not root.has_error
        self._document(root)

    def paths(self) -> set[KeyPath]:
        """Returns every path found; () is not among them."""
        return set(self._found)

    def span(self, path: KeyPath, *, on_key: bool) -> Span | None:
        """Returns the span of a key or a value; of its nearest parent that has one; of its line; or None."""
        if not self.exact:
            return self._by_line(path)
        while path:
            found = self._found.get(path)
            if found is not None:
                return found.key if on_key else found.value
            path, on_key = path[:-1], True
        return None

    def _by_line(self, path: KeyPath) -> Span | None:
        """Finds the line that sets a key, where the text has constructs that the grammar lacks."""
        keys = [key for key in path if isinstance(key, str)]
        while keys:
            key = keys.pop()
            name = re.escape(key)
            setting = re.compile(rf"""(?:^|[\s.,{{\[])["']?({name})["']?\s*(?:[=.\]])""")
            lines = [number for number, line in enumerate(self._lines, start=1) if setting.search(line)]
            if len(lines) == 1:
                line = self._lines[lines[0] - 1].rstrip()
                start = len(line) - len(line.lstrip())
                return Span(lines[0], start + 1, lines[0], len(line) + 1)
        return None

    def _document(self, root: tree_sitter.Node) -> None:
        for node in root.children:
            match node.type:
                case "pair":
                    self._pair((), node, 0)
                case "table" | "table_array_element":
                    self._table(node)

    def _table(self, node: tree_sitter.Node) -> None:
        named = node.named_children
        if not named or named[0].type == "comment":
            return
        header = self._join(node.children[0], _closing(node))
        parts = list(_parts(named[0]))
        base: KeyPath = ()
        for number, part in enumerate(parts, start=1):
            base = (*base, _name(part))
            self._add(base, self._span(part), header)
            last = number == len(parts)
            if last and node.type == "table_array_element":
                index = self._lengths.get(base, 0)
                self._lengths[base] = index + 1
                base = (*base, index)
                self._add(base, header, header)
            elif base in self._lengths:
                base = (*base, self._lengths[base] - 1)
        if len(base) > MAX_DEPTH:
            return
        for child in named[1:]:
            if child.type == "pair":
                self._pair(base, child, len(base))

    def _pair(self, base: KeyPath, node: tree_sitter.Node, depth: int) -> None:
        named = [child for child in node.named_children if child.type != "comment"]
        if len(named) != 2 or depth > MAX_DEPTH:
            return
        value = self._span(named[1])
        for part in _parts(named[0]):
            base = (*base, _name(part))
            self._add(base, self._span(part), value)
        self._value(base, named[1], depth + 1)

    def _value(self, path: KeyPath, node: tree_sitter.Node, depth: int) -> None:
        if depth > MAX_DEPTH:
            return
        if node.type == "inline_table":
            for child in node.named_children:
                if child.type == "pair":
                    self._pair(path, child, depth)
        elif node.type == "array":
            items = (child for child in node.named_children if child.type != "comment")
            for index, child in enumerate(items):
                span = self._span(child)
                self._add((*path, index), span, span)
                self._value((*path, index), child, depth + 1)

    def _add(self, path: KeyPath, key: Span, value: Span) -> None:
        self._found.setdefault(path, KeyValue(key, value))

    def _span(self, node: tree_sitter.Node) -> Span:
        return self._join(node, node)

    def _join(self, first: tree_sitter.Node, last: tree_sitter.Node) -> Span:
        start, end = first.start_point, last.end_point
        return Span(
            start.row + 1,
            self._characters(start.row, start.column) + 1,
            end.row + 1,
            self._characters(end.row, end.column) + 1,
        )

    def _characters(self, row: int, column: int) -> int:
        return column if self._ascii else len(self._raw_lines[row][:column].decode())


def _closing(table: tree_sitter.Node) -> tree_sitter.Node:
    return next((child for child in table.children if child.type in {"]", "]]"}), table.children[0])


def _parts(key: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """Yields the components of a key from left to right; dotted keys nest to the left."""
    tail: list[tree_sitter.Node] = []
    while key.type == "dotted_key":
        named = key.named_children
        tail.append(named[-1])
        key = named[0]
    yield key
    yield from reversed(tail)


def _name(key: tree_sitter.Node) -> str:
    text = (key.text or b"").decode()
    return text if key.type == "bare_key" else next(iter(tomli.loads(f"{text} = 0")))
