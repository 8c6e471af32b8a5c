"""Slurm's host lists: ``node[01-04,7]`` -> the names. No inventory is needed to read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

MAX_HOSTS = 65536
"""More names than Slurm itself allows in one node expression; beyond, a range is a slip of the pen."""

_RANGE = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")


class HostListError(ValueError):
    """A host list that cannot be read. ``fix`` says what to write instead."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


def split(text: str) -> list[str]:
    """Splits at the commas outside of brackets; blanks around the parts are dropped.

    Raises HostListError for unbalanced brackets and empty parts.
    """
    parts, depth, start = [], 0, 0
    for index, character in enumerate(text):
        depth += (character == "[") - (character == "]")
        if depth not in (0, 1):
            break
        if character == "," and depth == 0:
            parts.append(text[start:index].strip())
            start = index + 1
    if depth != 0:
        raise HostListError(
            f"the brackets of {text!r} do not match", "close every [ with a ], without nesting"
        )
    parts.append(text[start:].strip())
    if not all(parts):
        raise HostListError(f"{text!r} has an empty part", "write host names, separated by single commas")
    return parts


def expand(part: str) -> list[str]:
    """Returns the names that one part of a host list stands for, in the order written.

    A number keeps the zeros that the range's first number is written with: ``[01-10]`` gives 01 to 10,
    ``[1-10]`` gives 1 to 10. Several brackets vary the last one fastest. Raises HostListError.
    """
    pieces: list[list[str]] = []
    for index, piece in enumerate(re.split(r"[\[\]]", part)):
        pieces.append(list(_numbers(piece, part)) if index % 2 else [piece])
    total = 1
    for piece_names in pieces:
        total *= len(piece_names)
    if total > MAX_HOSTS:
        raise HostListError(f"{part!r} stands for {total} hosts", f"name at most {MAX_HOSTS} hosts")
    return ["".join(combination) for combination in product(*pieces)]


def _numbers(inside: str, part: str) -> Iterator[str]:
    for item in inside.split(","):
        found = _RANGE.fullmatch(item.strip())
        if found is None:
            raise HostListError(
                f"{item!r} in {part!r} is neither a number nor a range", "write ranges as [01-04,7]"
            )
        first, last = found[1], found[2] or found[1]
        if int(last) < int(first):
            raise HostListError(f"the range {item} in {part!r} runs backwards", f"write {last}-{first}")
        if int(last) - int(first) >= MAX_HOSTS:
            raise HostListError(
                f"{part!r} stands for more than {MAX_HOSTS} hosts", f"name at most {MAX_HOSTS} hosts"
            )
        width = len(first) if first.startswith("0") else 0
        for number in range(int(first), int(last) + 1):
            yield f"{number:0{width}d}" if width else str(number)
