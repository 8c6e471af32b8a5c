"""Sweeps: every list under cmd_args, in an environment value or in num_nodes is an axis of a grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from compiler.scenario.model import Scalar

WARN_POINTS = 1_000
MAX_POINTS = 10_000
MAX_RUNS = 100_000
"""Points times iterations of all entries of a scenario."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One swept key and its values, e.g. ``cmd_args.tokens``."""

    key: str
    values: Sequence[Scalar]


def axes(arguments: Mapping[str, object], env: Mapping[str, object], num_nodes: object) -> tuple[Axis, ...]:
    """Returns the axes: arguments in the order given, then environment, then num_nodes."""
    found = [Axis(f"cmd_args.{name}", value) for name, value in arguments.items() if isinstance(value, list)]
    found += [Axis(f"extra_env_vars.{name}", value) for name, value in env.items() if isinstance(value, list)]
    if isinstance(num_nodes, list):
        found.append(Axis("num_nodes", num_nodes))
    return tuple(found)


def size(axes: Sequence[Axis]) -> int:
    """Returns the number of points of the grid; 1 without axes."""
    return math.prod(len(axis.values) for axis in axes)


def points(axes: Sequence[Axis]) -> Iterator[dict[str, Scalar]]:
    """Yields the points, the last axis varying fastest; without axes one empty point."""
    for values in itertools.product(*(axis.values for axis in axes)):
        yield {axis.key: value for axis, value in zip(axes, values, strict=True)}
