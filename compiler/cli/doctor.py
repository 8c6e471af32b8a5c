"""``doctor``: examines every host of an inventory before anything else."""

from __future__ import annotations

import argparse
import sys

from compiler.cli import exit_codes, options


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "doctor",
        help="examine every host: SSH, Python, torch, work directory, network interface",
        description="Connects to every host of the inventory and examines what runs will need there.",
        epilog="exit codes: 0 all hosts are ready · 1 the inventory has errors · 3 a host is not ready",
    )
    options.add_inventory(parser)
    options.add_connection(parser)


def main(args: argparse.Namespace) -> int:
    """Returns 0 when every host is ready, 1 for a bad inventory, 3 when a host is not ready."""
    from compiler.cli import planning
    from compiler.inventory.load import load_inventory
    from compiler.resources import resource
    from compiler.runner.ansible import Playbook, pass_through

    options_of_ansible = pass_through(vars(args))
    vault = pass_through({name: value for name, value in vars(args).items() if "vault" in name})
    inventory, findings = load_inventory(args.inventory, vault, args.extra_vars)
    planning.show(findings)
    if inventory is None:
        return exit_codes.INPUT_ERROR
    playbook = Playbook(
        bundle=resource("playbooks"),
        name="doctor.yml",
        inventories=tuple(planning.absolute(source) for source in args.inventory),
        extra_vars=tuple(args.extra_vars),
        options=options_of_ansible,
        own_inventory=None,
    )
    print(f"examining {len(inventory.hosts)} hosts ...", file=sys.stderr, flush=True)
    return exit_codes.OK if playbook.start(None).wait() == 0 else exit_codes.NOT_PASSED
