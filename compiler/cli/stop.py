"""``stop``: ends a session that is under way and fetches what is there."""

from __future__ import annotations

import argparse
import sys

from compiler.cli import exit_codes, sessions


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "stop",
        help="end what a session has running, and fetch what is there",
        description="Ends what a session has running on its hosts, fetches what is there, and judges it.",
    )
    sessions.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Returns 0 when the playbooks ended well, 1 without a session, 3 otherwise."""
    from compiler.runner.run import halt, log_tail

    session = sessions.find(args)
    if session is None:
        return exit_codes.INPUT_ERROR
    if session.status != "running":
        print(f"session {session.run_id} has ended ({session.status}): nothing to stop")
        return exit_codes.OK
    playbook = sessions.playbook(args, session, "stop.yml")
    if playbook is None:
        return exit_codes.INPUT_ERROR
    code = halt(playbook, session.directory, "stopped-by-command")
    print(f"stopped; what was there is in {session.directory}")
    if code:
        print(log_tail(session.directory), file=sys.stderr)
    return exit_codes.NOT_PASSED if code else exit_codes.OK
