"""``doctor``: examines every host of an inventory before anything else."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.cli import exit_codes, options

if TYPE_CHECKING:
    from compiler.inventory.model import Inventory


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "doctor",
        help="examine every host of an inventory: SSH, Python, GPUs, network adapters, container runtime",
        description="Connects to every host of the inventory and examines what runs of its backend will need "
        "there (docs/preflight.md). run --preflight-only does it for what one scenario needs.",
        epilog="exit codes: 0 all hosts are ready · 1 the inventory has errors · 3 a host is not ready",
    )
    options.add_inventory(parser)
    parser.add_argument("--json", metavar="FILE", help="write everything that was found to this file")
    options.add_exclude(parser)
    options.add_connection(parser)


def main(args: argparse.Namespace) -> int:
    """Returns 0 when every host is ready, 1 for a bad inventory, 3 when a host is not ready."""
    from compiler.cli import planning
    from compiler.inventory.load import load_inventory
    from compiler.inventory.nodes import bar
    from compiler.resources import resource
    from compiler.runner.ansible import Playbook, pass_through

    options_of_ansible = pass_through(vars(args))
    vault = pass_through({name: value for name, value in vars(args).items() if "vault" in name})
    inventory, findings = load_inventory(args.inventory, vault, args.extra_vars)
    if inventory is not None:
        inventory, wrong = bar(inventory, args.exclude)
        findings = [*findings, *wrong]
        inventory = None if wrong else inventory
    planning.show(findings)
    if inventory is None:
        return exit_codes.INPUT_ERROR
    playbook = Playbook(
        bundle=resource("playbooks"),
        name="doctor.yml",
        inventories=tuple(planning.absolute(source) for source in args.inventory),
        extra_vars=(*args.extra_vars, *_file(args.json)),
        options=(*options_of_ansible, *_without(inventory)),
        own_inventory=None,
    )
    number = len(inventory.hosts) - len(inventory.barred)
    print(f"examining {number} host{'' if number == 1 else 's'} ...", file=sys.stderr, flush=True)
    return exit_codes.OK if playbook.start(None).wait() == 0 else exit_codes.NOT_PASSED


def _file(path: str | None) -> tuple[str, ...]:
    return () if path is None else (f"deepep_preflight_json={Path(path).absolute()}",)


def _without(inventory: Inventory) -> tuple[str, ...]:
    return (
        ("--limit", ":".join(["all", *(f"!{name}" for name in sorted(inventory.barred))]))
        if inventory.barred
        else ()
    )
