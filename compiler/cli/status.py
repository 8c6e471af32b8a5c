"""``status``: how a session's runs stand, asked from the hosts where one is under way."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from compiler.cli import exit_codes, sessions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compiler.runner.state import HostState, RunState


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "status",
        help="show how a session's runs stand",
        description="Shows how the runs of a session stand; the hosts are asked about those under way.",
    )
    sessions.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Returns 0, or 1 where there is no session, or a host of a run under way did not answer."""
    from compiler.runner import state

    session = sessions.find(args)
    if session is None:
        return exit_codes.INPUT_ERROR
    known = list(state.runs(session.directory))
    asked, silent = True, {}
    if session.status == "running" and any(run.under_way for run in known):
        asked = sessions.look(args, session)
        known = list(state.runs(session.directory))
        silent = state.problems(session.directory)
        if not asked:
            silent = {host: silent.get(host, "it was not asked") for run in known for host in run.hosts}
    status = session.status
    if status == "running" and not state.is_played(session.directory):
        status = "running, but its controller is gone (run --resume takes it up, stop ends it)"
    print(f"{session.scenario}: session {session.run_id}, {status}, {session.directory}")
    for run in known:
        print(f"  {run.id:24} {_text(run, silent)}")
    unheard = any(host in silent for run in known if run.under_way for host in run.hosts)
    return exit_codes.OK if asked and not unheard else exit_codes.INPUT_ERROR


def _text(run: RunState, silent: Mapping[str, str]) -> str:
    """Returns how a run stands; ``silent``: why hosts did not answer just now."""
    if run.verdict:
        return run.verdict
    if not run.under_way:
        return "waiting"
    seen = {one.host: one for one in run.seen}
    hosts = []
    for host in run.hosts:
        text = _of_host(seen[host], run.limit_s) if host in seen else "never seen there"
        if host in silent:
            age = f", seen {seen[host].seen_s_ago:.0f} s ago" if host in seen else ""
            text = f"does not answer ({silent[host]}); before: {text}{age}"
        hosts.append(f"{host}: {text}")
    return "; ".join(hosts)


def _of_host(seen: HostState, limit_s: float) -> str:
    elapsed = f" {seen.elapsed_s:.0f} of {limit_s:.0f} s" if seen.elapsed_s is not None else ""
    return f"{seen.status} {seen.phase} {seen.progress}".rstrip() + elapsed
