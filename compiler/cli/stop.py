"""``stop``: ends a run that is under way and fetches what is there."""

from __future__ import annotations

import argparse

from compiler.cli import exit_codes, options


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("stop", help="end what a session has running, and fetch what is there")
    parser.add_argument("results", metavar="RESULTS", help="a session's directory, or the folder of all of them")
    options.add_inventory(parser, required=False)
    options.add_connection(parser)


def main(args: argparse.Namespace) -> int:
    """Returns 0 when the playbooks ended well, 1 when there is no session, 3 otherwise."""
    import sys
    from pathlib import Path

    from compiler.runner.ansible import Playbook, pass_through
    from compiler.runner.run import halt, log_tail
    from compiler.runner.session import NotASessionError, open_session

    try:
        session = open_session(Path(args.results))
    except NotASessionError as error:
        print(f"deepep-compiler: {error}", file=sys.stderr)
        return exit_codes.INPUT_ERROR
    if not (session.bundle / "stop.yml").is_file():
        print(f"deepep-compiler: the session's bundle is gone: {session.bundle}", file=sys.stderr)
        return exit_codes.INPUT_ERROR
    playbook = Playbook(
        bundle=session.bundle,
        name="stop.yml",
        inventories=tuple(str(Path(source).absolute()) for source in args.inventory or ()),
        extra_vars=(*args.extra_vars, f"deepep_results={session.directory}"),
        options=pass_through(vars(args)),
    )
    code = halt(playbook, session.directory)
    print(f"stopped; what was there is in {session.directory}")
    if code:
        print(log_tail(session.directory), file=sys.stderr)
    return exit_codes.NOT_PASSED if code else exit_codes.OK
