"""``deepep-compiler lint``: checks test, scenario and system TOMLs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.cli import exit_codes, options

if TYPE_CHECKING:
    from compiler.diagnostics.model import Diagnostic
    from compiler.inventory.model import Inventory
    from compiler.lint import Online
    from compiler.plan.model import Plan


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's arguments."""
    parser = subparsers.add_parser(
        "lint",
        help="check test, scenario and system TOMLs",
        description="Checks TOML files, and folders with all that is below them; keys tell what a file is. "
        "A system TOML beside a scenario stands in for an inventory.",
    )
    parser.add_argument("paths", metavar="PATH", nargs="+", help="TOML file or folder")
    parser.add_argument(
        "--tests-dir", metavar="DIR", help="folder of test TOMLs (default: tests/ beside a scenario)"
    )
    options.add_hooks(parser)
    options.add_inventory(parser, required=False)
    parser.add_argument(
        "--format", choices=("text", "json", "sarif", "github"), default="text", help="default: %(default)s"
    )
    parser.add_argument("--strict", action="store_true", help="warnings count as errors")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="print infos too (json and sarif always have them)"
    )
    parser.add_argument(
        "--online", action="store_true",
        help="also ask Slurm about partitions, time limits, nodes and GPUs (sinfo on the login host)",
    )  # fmt: skip
    options.add_rules(parser)


def main(args: argparse.Namespace) -> int:
    """Returns 0 without errors, 1 with errors, 2 where there is nothing to check."""
    from compiler.diagnostics.model import Severity
    from compiler.diagnostics.render import render, wants_colour
    from compiler.document.paths import exists, is_folder
    from compiler.lint import lint, summary

    tests_dir = Path(args.tests_dir) if args.tests_dir else None
    if tests_dir and not is_folder(tests_dir):
        return _usage(f"--tests-dir {tests_dir} is not a folder")
    hook_dir = Path(args.hook_dir) if args.hook_dir else None
    if hook_dir and not is_folder(hook_dir):
        return _usage(f"--hook-dir {hook_dir} is not a folder")
    projects = options.projects(args)
    if projects is None:
        return exit_codes.USAGE

    def inventory() -> tuple[Inventory | None, list[Diagnostic]]:
        from compiler.inventory.load import load_inventory
        from compiler.runner.ansible import pass_through

        vault = pass_through({name: value for name, value in vars(args).items() if "vault" in name})
        return load_inventory(args.inventory, vault, args.extra_vars)

    result = lint(
        [Path(path) for path in args.paths],
        tests_dir=tests_dir,
        hook_dir=hook_dir,
        inventory=inventory if args.inventory else None,
        projects=projects,
        online=_online(args) if args.online else None,
    )
    found = result.diagnostics
    errors = sum(one.severity is Severity.ERROR for one in found)
    warnings = sum(one.severity is Severity.WARNING for one in found)
    quiet = args.format in ("text", "github") and not args.verbose
    printed = [one for one in found if one.severity is not Severity.INFO] if quiet else found
    colour = wants_colour(sys.stdout)
    sys.stdout.write(render(printed, args.format, colour=colour, locator=result.locator))
    if args.format == "text" and result.files:
        print(summary(result, errors, warnings, len(found) - len(printed)))
    for path in result.missing:
        _usage(f"{path} does not exist" if not exists(path) else f"there is no TOML file below {path}")
    strict = any(
        projects.of(one.place.file if one.place else None).strict
        for one in found
        if one.severity is Severity.WARNING
    )
    if errors or strict:
        return exit_codes.INPUT_ERROR
    return exit_codes.USAGE if result.missing else exit_codes.OK


def _online(args: argparse.Namespace) -> Online:
    """Returns the check of plans against their cluster, which is asked once."""
    from compiler.diagnostics.codes import finding
    from compiler.inventory.sinfo import Cluster, OnlineError, ask
    from compiler.plan.online import check
    from compiler.runner.ansible import pass_through

    known: dict[str, Cluster] = {}
    sources = list(args.inventory or ())
    extra = [part for value in args.extra_vars for part in ("-e", value)]
    options = (*pass_through({name: value for name, value in vars(args).items() if "vault" in name}), *extra)

    def online(plan: Plan, inventory: Inventory) -> list[Diagnostic]:
        if plan.slurm is None:
            return [finding("online-without-slurm", "deepep_launcher is ssh: there is no queue to ask", None)]
        login = plan.slurm.login
        try:
            if login not in known:
                known[login] = ask(login, sources, options)
        except OnlineError as error:
            return [finding("slurm-not-asked", f"the cluster could not be asked: {error}", None)]
        return list(check(plan, inventory, known[login]))

    return online


def _usage(message: str) -> int:
    print(f"deepep-compiler lint: error: {message}", file=sys.stderr)
    return exit_codes.USAGE
