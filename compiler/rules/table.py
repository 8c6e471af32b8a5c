"""All rules, in the order in which they run. A rule that is not listed here does not exist."""

from __future__ import annotations

from compiler.rules import (
    dependencies,
    environment,
    excluded_arguments,
    idle_switches,
    ids,
    mounts,
    no_effect,
    node_specs,
    nul_characters,
    routing,
    test_source,
    time_limits,
    topk,
    ue8m0,
)
from compiler.rules.model import CaseRule, ScenarioRule, TableRule

TABLE_RULES: tuple[TableRule, ...] = (
    no_effect.keys,
    environment.shell_code,
    environment.set_by_the_launcher,
    environment.too_long,
    environment.blank_ends,
    mounts.distinct,
    excluded_arguments.known,
    nul_characters.anywhere,
)
"""Test files, and scenario entries with their overrides or own tests."""

SCENARIO_RULES: tuple[ScenarioRule, ...] = (
    ids.unique,
    ids.not_reserved,
    test_source.exactly_one,
    test_source.exists,
    test_source.template_kept,
    dependencies.known,
    dependencies.not_twice,
    dependencies.no_cycle,
    node_specs.readable,
    time_limits.understood,
    time_limits.given,
    no_effect.scenario_keys,
)
"""A scenario's document together with the tests that it may use."""

CASE_RULES: tuple[CaseRule, ...] = (
    topk.at_most_experts,
    ue8m0.needs_round_scale,
    routing.possible,
    idle_switches.without_effect,
)
"""Each point of each entry's sweep, arguments merged and defaults filled in.

What needs hosts and ranks stands in :mod:`compiler.rules.runs`."""
