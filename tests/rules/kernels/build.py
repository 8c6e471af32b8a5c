"""Facts for tests: the schema's defaults, with what a test is about changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from compiler.resources import resource
from compiler.rules.kernels import RunFacts
from compiler.rules.kernels.model import Example
from compiler.scenario.model import Arguments


@cache
def default_arguments() -> Arguments:
    """The arguments of a test that gives none; what has no default is absent or automatic."""
    schema = json.loads(
        (resource("schemas") / "test.DeepEPBenchmark.schema.json").read_text(encoding="utf-8")
    )
    properties = schema["properties"]["cmd_args"]["properties"]
    return Arguments(**{name: properties[name].get("default") for name in Arguments.__slots__})


def facts(
    backend: str = "deepep",
    hosts: int = 2,
    arguments: Mapping[str, Any] | None = None,
    *,
    ranks_per_host: int = 8,
    version: str | None = None,
    **other: Any,
) -> RunFacts:
    """One run's facts."""
    return RunFacts(
        replace(default_arguments(), **(arguments or {})),
        hosts,
        ranks_per_host,
        backend,
        deepep_version=version,
        **other,
    )


def facts_of(example: Example) -> RunFacts:
    """The facts of a rule's example."""
    return facts(
        example.backend,
        example.hosts,
        dict(example.arguments),
        ranks_per_host=example.ranks_per_host,
        version=example.version,
        program=example.program,
        env=example.env,
        time_limit_s=example.time_limit_s,
    )
