"""``cleanup``: removes what sessions left on the hosts of an inventory."""

from __future__ import annotations

import argparse
import sys

from compiler.cli import exit_codes, options


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "cleanup",
        help="remove what sessions left on the hosts of an inventory",
        description="Removes what sessions left on every host of an inventory: files that were collected, "
        "what nobody collected and is old, credentials, containers and images half there of killed runs. "
        "What a session still uses stays in any case.",
        epilog="exit codes: 0 every host was cleaned up · 1 the inventory has errors · 3 a host was not",
    )
    options.add_inventory(parser)
    parser.add_argument(
        "--uncollected", action="store_true",
        help="remove also what nobody collected yet, whatever its age (default: after "
        "deepep_cleanup_keep_days, 14)",
    )  # fmt: skip
    options.add_connection(parser)


def main(args: argparse.Namespace) -> int:
    """Returns 0 when every host was cleaned up, 1 for a bad inventory, 3 when one was not."""
    from compiler.cli import planning
    from compiler.inventory.load import load_inventory
    from compiler.resources import resource
    from compiler.runner.ansible import Playbook, pass_through

    vault = pass_through({name: value for name, value in vars(args).items() if "vault" in name})
    inventory, findings = load_inventory(args.inventory, vault, args.extra_vars)
    planning.show(findings)
    if inventory is None:
        return exit_codes.INPUT_ERROR
    if any(host.settings.launcher == "slurm" for host in inventory.hosts.values()):
        print(
            "deepep-compiler: hosts of this inventory are Slurm's: what their jobs leave lies on the login "
            "host, and ansible-playbook cleanup.yml in the bundle removes it",
            file=sys.stderr,
        )
        return exit_codes.INPUT_ERROR
    playbook = Playbook(
        bundle=resource("playbooks"),
        name="cleanup.yml",
        inventories=tuple(planning.absolute(source) for source in args.inventory),
        extra_vars=(*args.extra_vars, *(("deepep_cleanup_uncollected=true",) if args.uncollected else ())),
        options=pass_through(vars(args)),
        own_inventory=None,
    )
    return exit_codes.OK if playbook.start(None).wait() == 0 else exit_codes.NOT_PASSED
