"""``collect``: fetches what a session has left on its hosts, and judges it again."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from compiler.cli import exit_codes, sessions


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "collect",
        help="fetch what a session has left on its hosts",
        description="Fetches what a session has left on its hosts (files beyond the size limit, those of a "
        "host that was away), removes it there, judges and reports again.",
        epilog="exit codes: 0 every run passed · 1 no session, or one that is under way · 3 otherwise",
    )
    sessions.add_arguments(parser)
    parser.add_argument(
        "--limit-mb", metavar="N", type=int,
        help="MiB that are fetched of one run from one host at most, 0 for no limit (default: the "
        "inventory's deepep_collect_limit_mb)",
    )  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Returns 0 when every run passed, 1 without a session or while it is under way, 3 otherwise."""
    from compiler.cli.run import finish
    from compiler.runner import state
    from compiler.runner.run import play

    session = sessions.find(args)
    if session is None:
        return exit_codes.INPUT_ERROR
    if args.limit_mb is not None and args.limit_mb < 0:
        print("deepep-compiler collect: error: --limit-mb: less than nothing", file=sys.stderr)
        return exit_codes.USAGE
    if session.status == "running" or state.may_run(session.directory):
        # Cleaning up would end what runs.
        print(
            f"deepep-compiler: session {session.run_id} may be under way: stop ends it and fetches, "
            "run --resume takes it up where its controller is gone",
            file=sys.stderr,
        )
        return exit_codes.INPUT_ERROR
    playbook = sessions.playbook(args, session, "collect.yml")
    if playbook is None:
        return exit_codes.INPUT_ERROR
    if args.limit_mb is not None:
        told = (*playbook.extra_vars, f"deepep_collect_limit_mb={args.limit_mb}")
        playbook = replace(playbook, extra_vars=told)
    limits = {run.id: run.limit_s for run in state.runs(session.directory)}
    outcome = play(playbook, session.directory, limits, verbose=bool(args.verbose))
    return finish(session.directory, outcome.code, interrupted=outcome.interrupted)
