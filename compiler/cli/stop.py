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
    """Returns 0 when the playbooks ended well, 1 without a session, 3 otherwise.

    What is asked for is decided by what may run on the hosts: a session may have ended without it.
    """
    from compiler.runner import state
    from compiler.runner.run import halt, log_tail

    session = sessions.find(args)
    if session is None:
        return exit_codes.INPUT_ERROR
    left = state.may_run(session.directory)
    if session.status != "running" and not left:
        print(f"session {session.run_id} has ended ({session.status}): nothing to stop")
        return exit_codes.OK
    playbook = sessions.playbook(args, session, "stop.yml")
    if playbook is None:
        return exit_codes.INPUT_ERROR
    halted = halt(playbook, session.directory, "stopped-by-command")
    if not halted.sure:
        if forgotten := sessions.forgotten(session).strip():
            print(forgotten, file=sys.stderr)
        return exit_codes.NOT_PASSED
    print(f"stopped; what was there is in {session.directory}")
    if halted.collect:
        print(log_tail(session.directory), file=sys.stderr)
    return exit_codes.NOT_PASSED if halted.collect else exit_codes.OK
