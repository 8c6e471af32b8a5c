"""``compile``: lints, then writes the bundle; writes nothing where there is an error."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from compiler.cli import exit_codes, options, planning

if TYPE_CHECKING:
    from compiler.inventory.model import Inventory
    from compiler.plan.model import Plan


class Compiled(NamedTuple):
    """A bundle that was written, and what it was made from."""

    plan: Plan
    inventory: Inventory
    bundle: Path


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "compile",
        help="write a scenario's bundle of Ansible playbooks",
        description="Checks a scenario and writes its bundle: playbooks, plan, roles, manifest.",
    )
    options.add_scenario(parser)
    planning.add_inventory(parser)
    options.add_exclude(parser)
    options.add_selftest(parser)
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="where the bundle goes (default: build/<scenario>)"
    )


def main(args: argparse.Namespace) -> int:
    """Returns 0, 1 where the input has errors, 2 without an inventory."""
    if planning.lacks_inventory(args):
        return exit_codes.USAGE
    compiled = compile_bundle(args, Path(args.output) if args.output else None)
    if compiled is None:
        return exit_codes.INPUT_ERROR
    print(compiled.bundle)
    return exit_codes.OK


def compile_bundle(
    args: argparse.Namespace,
    target: Path | None,
    narrow: Callable[[argparse.Namespace, Plan], Plan | None] | None = None,
) -> Compiled | None:
    """Writes the bundle to ``target`` (None: ``build/<scenario>``) and returns what it is of and where.

    ``narrow`` may take runs out of the plan, or refuse it (None, and the reason told).
    Findings go to standard error. None, and nothing written, where one of them is an error.
    """
    planned = planning.plan_of(args)
    plan, inventory = planned.plan, planned.inventory
    if plan is None or inventory is None:
        planning.show(planned.findings)
        return None

    from compiler.emit.bundle import BundleInUseError, ForeignFolderError, emit_bundle
    from compiler.plan.support import not_executable

    refused = not_executable(plan)
    planning.show((*planned.findings, *refused))
    if refused:
        return None
    if narrow is not None:
        plan = narrow(args, plan)
        if plan is None:
            return None
    target = target or Path("build", plan.scenario)
    try:
        emit_bundle(plan, inventory, target)
    except ForeignFolderError as error:
        planning.show([error.diagnostic()])
        return None
    except BundleInUseError as error:
        way_out = "wait for its end, or name another folder with -o"
        print(f"deepep-compiler: {error}: {way_out}", file=sys.stderr)
        return None
    except OSError as error:
        print(f"deepep-compiler: cannot write {target}: {error.strerror or error}", file=sys.stderr)
        return None
    return Compiled(plan, inventory, target)
