"""Node specifications: readable without an inventory. Whether the hosts exist is the plan's question."""

from __future__ import annotations

import re
from collections.abc import Iterator

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic, Place
from compiler.diagnostics.wording import value_text
from compiler.inventory.hostlist import HostListError, expand, split
from compiler.rules.model import RawScenario
from compiler.scenario.raw import RawEntry

_COUNT = r"0*[1-9][0-9]*|max_avail"
_ADDRESS = r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*"
"""An IPv6 address may be a host's name."""


def readable(scenario: RawScenario) -> Iterator[Diagnostic]:
    """Each part is a host, a range, or PARTITION:GROUP:COUNT."""
    for entry in scenario.entries:
        for key in ("nodes", "exclude_nodes"):
            for text, place in _texts(entry, key):
                problem = _problem(text)
                if problem:
                    yield finding("bad-node-spec", problem[0], place, fix=problem[1])


def _texts(entry: RawEntry, key: str) -> Iterator[tuple[str, Place]]:
    value = entry.data.get(key)
    if isinstance(value, str):
        yield value, entry.place(key)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            if isinstance(item, str) and item:
                yield item, entry.place(key, number)


def _problem(text: str) -> tuple[str, str] | None:
    try:
        for part in split(text):
            if ":" not in part:
                expand(part)
            elif not re.fullmatch(_ADDRESS, part):
                fields = [field.strip() for field in part.split(":")]
                if len(fields) != 3 or not all(fields):
                    return (
                        f"a part of {value_text(part)} is empty"
                        if len(fields) == 3
                        else f"{value_text(part)} has {len(fields)} parts between colons, a group spec has 3",
                        "write PARTITION:GROUP:COUNT, with a number or max_avail as COUNT",
                    )
                if not re.fullmatch(_COUNT, fields[2]):
                    return (
                        f"the count of {value_text(part)} is {value_text(fields[2])}",
                        "write a number from 1, or max_avail for all hosts of the group",
                    )
    except HostListError as error:
        return str(error), error.fix
    return None
