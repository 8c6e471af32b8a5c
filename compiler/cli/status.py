"""``status``: how a session's runs stand, asked from the hosts where one is under way."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from compiler.cli import exit_codes, sessions

if TYPE_CHECKING:
    from compiler.runner.state import RunState


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "status",
        help="show how a session's runs stand",
        description="Shows how the runs of a session stand; the hosts are asked about those under way.",
    )
    sessions.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Returns 0, or 1 where there is no session or its hosts could not be asked."""
    from compiler.runner import state

    session = sessions.find(args)
    if session is None:
        return exit_codes.INPUT_ERROR
    known = list(state.runs(session.directory))
    asked = True
    if session.status == "running" and any(run.under_way for run in known):
        asked = sessions.look(args, session)
        known = list(state.runs(session.directory))
    status = session.status
    if status == "running" and not state.is_played(session.directory):
        status = "running, but its controller is gone (run --resume takes it up, stop ends it)"
    print(f"{session.scenario}: session {session.run_id}, {status}, {session.directory}")
    for run in known:
        print(f"  {run.id:24} {_text(run)}")
    return exit_codes.OK if asked else exit_codes.INPUT_ERROR


def _text(run: RunState) -> str:
    if run.verdict:
        return run.verdict
    if not run.seen:
        return "waiting"
    hosts = []
    for seen in run.seen:
        elapsed = f" {seen.elapsed_s:.0f} of {run.limit_s:.0f} s" if seen.elapsed_s is not None else ""
        hosts.append(f"{seen.host}: {seen.status} {seen.phase} {seen.progress}".rstrip() + elapsed)
    return "; ".join(hosts)
