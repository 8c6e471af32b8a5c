"""Tells what a TOML file is by its keys, never by its name."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

PROJECT_FILES = frozenset({"deepep-compiler.toml", "pyproject.toml"})
"""Settings of a project: never a test, a scenario or a system."""


class Kind(StrEnum):
    """The three kinds of file that make up a benchmark."""

    TEST = "test"
    SCENARIO = "scenario"
    SYSTEM = "system"


_MARKS = (
    (Kind.SCENARIO, frozenset({"Tests"})),
    (Kind.SYSTEM, frozenset({"scheduler", "default_partition", "partitions", "install_path", "output_path"})),
    (Kind.TEST, frozenset({"test_template_name", "cmd_args"})),
)


def kind_of(data: Mapping[str, object]) -> Kind | None:
    """Returns the kind whose telling keys the file has, or None."""
    for kind, marks in _MARKS:
        if not marks.isdisjoint(data):
            return kind
    return None
