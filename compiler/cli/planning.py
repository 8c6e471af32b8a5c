"""From command line arguments to a plan; shared by the commands that need one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from compiler.cli import options
from compiler.diagnostics.model import Diagnostic, Severity
from compiler.inventory.model import Inventory
from compiler.plan.model import Plan


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with the inventory that it was made for, and all findings; no plan where one is an error."""

    plan: Plan | None
    inventory: Inventory | None
    findings: tuple[Diagnostic, ...]


def add_inventory(parser: argparse.ArgumentParser) -> None:
    """Adds the inventory's options, and a hidden one that reads what ``ansible-inventory --list`` printed.

    That one is for benchmarks and tests, which leave Ansible's own time out.
    """
    options.add_inventory(parser, required=False)
    parser.add_argument("--inventory-json", metavar="FILE", help=argparse.SUPPRESS)
    options.add_rules(parser)


def lacks_inventory(args: argparse.Namespace) -> bool:
    """Tells whether no inventory was named, or rules that do not exist, and says so on standard error."""
    if args.inventory or args.inventory_json:
        return options.projects(args) is None
    print("deepep-compiler: the following arguments are required: -i/--inventory", file=sys.stderr)
    return True


def plan_of(args: argparse.Namespace) -> Planned:
    """Reads scenario, tests and inventory and makes the plan; errors of all of them in one go.

    What project files, options and comments switch off is left out, and stops nothing.
    """
    from compiler.diagnostics.locate import Locator
    from compiler.diagnostics.shown import shown
    from compiler.inventory.nodes import bar
    from compiler.plan.build import build_plan
    from compiler.rules.test_source import as_error
    from compiler.scenario.load import load_scenario
    from compiler.settings import Projects, Settings

    path = Path(args.scenario)
    projects = options.projects(args) or Projects(Settings())
    settings = projects.of(path)
    tests_dir = Path(args.tests_dir) if args.tests_dir else None
    scenario, findings = load_scenario(path, tests_dir, Path(args.hook_dir) if args.hook_dir else None)
    inventory, more = _inventory(args)
    if inventory is not None and getattr(args, "exclude", None):
        inventory, wrong = bar(inventory, args.exclude)
        more = [*more, *wrong]
    findings = [*projects.findings, *map(as_error, findings), *more]
    plan = None
    if scenario is not None and inventory is not None:
        plan, more = build_plan(
            scenario, inventory, settings.assume, selftest=bool(getattr(args, "selftest", False))
        )
        findings += more
    findings = shown(findings, lambda file: projects.of(file or path).switches, Locator())
    if any(found.severity is Severity.ERROR for found in findings):
        plan = None
    if plan is not None:
        plan = replace(plan, warnings=tuple(_lines(findings)))
    return Planned(plan, inventory, tuple(findings))


def show(findings: Iterable[Diagnostic]) -> None:
    """Prints findings for people on standard error; infos are for ``lint --verbose``."""
    found = tuple(one for one in findings if one.severity is not Severity.INFO)
    if found:
        from compiler.diagnostics.render import render, wants_colour

        print(render(found, "text", colour=wants_colour(sys.stderr)), end="", file=sys.stderr)


def _inventory(args: argparse.Namespace) -> tuple[Inventory | None, list[Diagnostic]]:
    from compiler.inventory.load import load_inventory, load_inventory_json

    if getattr(args, "inventory_json", None):
        return load_inventory_json(Path(args.inventory_json))
    from compiler.runner.ansible import pass_through

    vault = pass_through({name: value for name, value in vars(args).items() if "vault" in name})
    return load_inventory(args.inventory, vault, args.extra_vars)


def _lines(findings: Iterable[Diagnostic]) -> Iterable[str]:
    """Yields warnings in one line each, without paths of this machine: the plan is the same everywhere."""
    for found in dict.fromkeys(findings):
        if found.severity is Severity.WARNING:
            file = f"{found.place.file.name}: " if found.place else ""
            yield f"{found.code} {file}{found.message}"


def absolute(source: str) -> str:
    """Returns an inventory source as it is named in any directory; a list of hosts (with a comma) stays."""
    return source if "," in source else str(Path(source).absolute())
