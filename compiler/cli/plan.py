"""``plan``: prints hosts, ranks, environment, command and time budget of every run."""

from __future__ import annotations

import argparse
import json
import sys

from compiler.cli import exit_codes, options, planning


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "plan",
        help="show hosts, ranks, environment, command and time budget of every run",
        description="Shows what a scenario would do on an inventory: every run, in the order of execution.",
    )
    options.add_scenario(parser)
    planning.add_inventory(parser)
    options.add_exclude(parser)
    options.add_selftest(parser)
    parser.add_argument("--explain-hosts", action="store_true", help="say why each run gets its hosts")
    parser.add_argument("--format", choices=["text", "json"], default="text", help="json: as plan.json")


def main(args: argparse.Namespace) -> int:
    """Returns 0, 1 where the input has errors, 2 without an inventory."""
    if planning.lacks_inventory(args):
        return exit_codes.USAGE
    planned = planning.plan_of(args)
    planning.show(planned.findings)
    if planned.plan is None:
        return exit_codes.INPUT_ERROR
    if args.format == "json":
        json.dump(planned.plan.to_json(), sys.stdout, indent=1, ensure_ascii=False)
        print()
    else:
        from compiler.plan.show import lines

        for line in lines(planned.plan, explain_hosts=args.explain_hosts):
            print(line)
        if planned.inventory is not None:
            from compiler.registries import lines as registries

            for line in registries(planned.plan, planned.inventory):
                print(line)
    return exit_codes.OK
