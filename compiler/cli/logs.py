"""``logs``: what the ranks print, also while they run."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from compiler.cli import exit_codes, sessions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from compiler.runner.state import RunState

LOOK_EVERY_S = 3.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "logs",
        help="show what the ranks of a session print",
        description="Shows the logs of a session's runs, each line with its host.",
    )
    sessions.add_arguments(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on while the session lasts")
    parser.add_argument("--run", metavar="ID", help="only this run, e.g. Tests.1/0")
    parser.add_argument(
        "--stream", choices=("stdout", "stderr"), action="append", help="only this stream (default: both)"
    )


def main(args: argparse.Namespace) -> int:
    """Returns 0, or 1 where there is no session, no such run, or its hosts could not be asked."""
    from compiler.runner import state

    session = sessions.find(args)
    if session is None:
        return exit_codes.INPUT_ERROR
    ids = [run.id for run in state.runs(session.directory)]
    if args.run and args.run not in ids:
        print(
            f"deepep-compiler: the session has no run {args.run!r}; it has {', '.join(ids)}", file=sys.stderr
        )
        return exit_codes.INPUT_ERROR
    printed: dict[tuple[str, str, str], int] = {}
    silent: dict[str, str] = {}
    streams = tuple(args.stream or ("stdout", "stderr"))
    while True:
        known = [run for run in state.runs(session.directory) if args.run in (None, run.id)]
        running = session.status == "running"
        if running and any(run.under_way for run in known):
            if not sessions.look(args, session):
                return exit_codes.INPUT_ERROR
            silent = _tell_silent(silent, state.problems(session.directory), known)
        for run in known:
            for host in run.hosts:
                for stream in streams:
                    final = state.final_log(session.directory, run.id, host, stream)
                    live = state.live_log(session.directory, run.id, host, stream)
                    _print_new(final if final.is_file() else live, (run.id, host, stream), printed)
        sys.stdout.flush()
        if not (args.follow and running):
            return exit_codes.INPUT_ERROR if silent else exit_codes.OK
        under_way = [run for run in known if run.under_way]
        if all(run.waits_on_hosts for run in under_way) and not state.is_played(session.directory):
            print(
                "deepep-compiler: nothing more will come: what was started has ended, and the controller is "
                f"gone; collect it with: deepep-compiler run --resume {session.directory}",
                file=sys.stderr,
            )
            return exit_codes.OK
        time.sleep(LOOK_EVERY_S)
        session = sessions.find(args) or session


def _tell_silent(
    told: Mapping[str, str], problems: Mapping[str, str], known: Iterable[RunState]
) -> dict[str, str]:
    """Says once why hosts of runs under way do not answer, and once that they do; returns who does not."""
    concerned = {host for run in known if run.under_way for host in run.hosts}
    now = {host: text for host, text in problems.items() if host in concerned}
    for host in sorted(now.keys() - told.keys()):
        text = f"{host} does not answer, what it prints comes later: {now[host]}"
        print(f"deepep-compiler: {text}", file=sys.stderr, flush=True)
    for host in sorted((told.keys() - now.keys()) & concerned):
        print(f"deepep-compiler: {host} answers again", file=sys.stderr, flush=True)
    return now


def _print_new(path: Path, key: tuple[str, str, str], printed: dict[tuple[str, str, str], int]) -> None:
    """Prints the complete lines that were not printed yet; a shorter file is another attempt's."""
    start = printed.get(key, 0)
    try:
        with path.open("rb") as file:
            start = start if path.stat().st_size >= start else 0
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                print(f"[{key[0]} {key[1]} {key[2]}] {line[:-1].decode('utf-8', 'replace')}")
                start += len(line)
    except FileNotFoundError:
        return
    printed[key] = start
