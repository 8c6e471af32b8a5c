"""The benchmark program, started by hand, refuses what lint calls an error, and nothing that lint allows."""

from __future__ import annotations

import dataclasses

import pytest

from compiler.diagnostics.model import Severity
from compiler.resources import program_code
from compiler.rules.kernels.limits import limit_values, releases
from compiler.rules.kernels.model import DEEPEP, Example, Kernel, Rule
from compiler.rules.kernels.registry import RULES
from tests.rules.kernels.build import facts_of

program_code()

from deepep_bench.config import Config  # noqa: E402
from deepep_bench.kernel_limits import limits_of, v1_problems, v2_problems  # noqa: E402
from deepep_bench.world import World  # noqa: E402

ELSEWHERE = {
    "experts-not-divisible": "config.check_for_world",
    "fp8-hidden-alignment": "config.py",
    "elastic-needs-package-2": "backends/deepep_v2.py, which has the package",
}
GPU_SMS = 132
ERRORS = [
    rule
    for rule in RULES
    if rule.severity is Severity.ERROR
    and rule.kernels & DEEPEP
    and "bundled" in rule.programs
    and rule.slug not in ELSEWHERE
]


def problems(rule: Rule, example: Example) -> dict[str, list[str]]:
    """What the program says, by release that has the limit."""
    facts = facts_of(example)
    names = {field.name for field in dataclasses.fields(Config)}
    given = {
        name: getattr(facts.arguments, name)
        for name in names & set(facts.arguments.__slots__)
        if getattr(facts.arguments, name) is not None
    }
    config = Config(**{**given, "backend": example.backend})
    world = World(
        rank=0,
        size=facts.world_size,
        local_rank=0,
        local_size=facts.ranks_per_host,
        host="node0",
        master_addr="127.0.0.1",
        master_port=0,
        agent_hosts_store=False,
        attempt="0",
    )
    found = {}
    for release in releases():
        if release.version not in rule.limit.sources or example.version not in (None, release.version):
            continue
        elastic = release.has_v2
        of_kernel = v2_problems if rule.kernels == {Kernel.V2} else v1_problems
        limits = limits_of(release.version, elastic)
        found[release.version] = of_kernel(config, world, limits, GPU_SMS, example.env)
    return found


@pytest.mark.parametrize("rule", ERRORS, ids=lambda rule: rule.slug)
def test_the_program_refuses_what_lint_calls_an_error(rule: Rule) -> None:
    bad = problems(rule, rule.bad)
    assert bad
    assert all(bad.values())
    assert not any(problems(rule, rule.good).values())


def test_the_installed_release_decides() -> None:
    for release in releases():
        assert limits_of(release.version, release.has_v2) == limit_values(release.version)
    assert limits_of("1.1.0+abc", False) == limit_values("1.2.1")
    assert limits_of("1.x, not told by the package", False) == limit_values("1.2.1")
    assert limits_of("2.0.0 (commit b306af0)", True) == limit_values("2.1.0")
    assert limits_of("9.9", True) == limit_values("2.1.0")
