"""``run``: compile, ``ansible-playbook``, report, with live progress."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.cli import exit_codes, options, planning

if TYPE_CHECKING:
    from compiler.plan.model import Plan
    from compiler.runner.ansible import Playbook


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "run",
        help="compile a scenario, run it on the inventory's hosts, judge and report",
        description="Compiles a scenario, runs it on the inventory's hosts, fetches, judges and reports.",
    )
    options.add_scenario(parser, required=False)
    planning.add_inventory(parser)
    options.add_exclude(parser)
    options.add_selftest(parser)
    parser.add_argument(
        "-o", "--bundle", metavar="DIR", help="where the bundle goes (default: build/<scenario>)"
    )
    parser.add_argument(
        "--results-dir", metavar="DIR", default="results", help="where result trees go (default: results)"
    )
    parser.add_argument(
        "--preflight-only", action="store_true",
        help="examine the hosts for this scenario and start nothing; 0 where every run could start, else 3",
    )  # fmt: skip
    parser.add_argument(
        "--resume", metavar="RESULTS",
        help="go on with a session: find what a lost controller left, repeat what has no PASS, keep the "
        "rest; SCENARIO and -i may be left out",
    )  # fmt: skip
    parser.add_argument(
        "--only", metavar="ID", action="append", default=[],
        help="run just this entry (Tests.1) or run (Tests.1/0), and what overlaps it; may be given again",
    )  # fmt: skip
    options.add_connection(parser)


def main(args: argparse.Namespace) -> int:
    """Returns 0 when every run passed, 1 for bad input, 3 when one did not pass, 130 when interrupted."""
    if args.resume is not None:
        if args.preflight_only:
            print("deepep-compiler run: error: --preflight-only goes without --resume", file=sys.stderr)
            return exit_codes.USAGE
        if args.scenario is not None and planning.lacks_inventory(args):
            return exit_codes.USAGE
        from compiler.cli.resume import resume

        return resume(args)
    if args.scenario is None:
        print("deepep-compiler run: error: SCENARIO is required, or --resume RESULTS", file=sys.stderr)
        return exit_codes.USAGE
    from compiler.cli.compile import compile_bundle
    from compiler.emit.bundle import emit_bundle
    from compiler.resources import host_code
    from compiler.runner.ansible import AnsibleMissingError, Playbook, pass_through
    from compiler.runner.session import create_directory, discard_unopened

    host_code()
    from deepep_host.own_bundle import link_additions, own_bundle

    if planning.lacks_inventory(args):
        return exit_codes.USAGE
    compiled = compile_bundle(args, Path(args.bundle) if args.bundle else None, _part)
    if compiled is None:
        return exit_codes.INPUT_ERROR
    session = create_directory(Path(args.results_dir).absolute(), compiled.plan.scenario)
    try:
        playbook = Playbook(
            bundle=own_bundle(session),
            name="preflight.yml" if args.preflight_only else "site.yml",
            inventories=tuple(planning.absolute(source) for source in args.inventory),
            extra_vars=(*args.extra_vars, f"deepep_results={session}"),
            options=pass_through(vars(args)),
        )
        print(f"bundle: {compiled.bundle}\nresults: {session}", file=sys.stderr)
        # Not the one that was just written, which the next compile of this scenario replaces.
        try:
            emit_bundle(compiled.plan, compiled.inventory, playbook.bundle)
            link_additions(compiled.bundle, playbook.bundle)
        except OSError as error:
            discard_unopened(session)
            print(f"deepep-compiler: cannot write {session}: {error.strerror or error}", file=sys.stderr)
            return exit_codes.INPUT_ERROR
        return play_and_halt(args, playbook, session, compiled.plan)
    except AnsibleMissingError as missing:
        discard_unopened(session)
        print(f"deepep-compiler: {missing}", file=sys.stderr)
        return exit_codes.INPUT_ERROR
    except KeyboardInterrupt:
        discard_unopened(session)
        raise


def _part(args: argparse.Namespace, plan: Plan) -> Plan | None:
    """Returns what ``--only`` leaves of a plan; None, and the reason told, where that cannot run."""
    if not args.only:
        return plan
    from compiler.cli import select
    from compiler.plan.selection import part

    chosen = select.only(args, plan)
    return None if chosen is None else part(plan, chosen)


def play_and_halt(args: argparse.Namespace, playbook: Playbook, session: Path, plan: Plan) -> int:
    """Plays a bundle's ``site.yml`` and reports; what an interrupt leaves is stopped and fetched.

    Raises AnsibleMissingError.
    """
    from compiler.runner.run import end_preflight, halt, play
    from compiler.runner.session import discard_unopened, open_session

    limits = {run.id: run.time_limit_s for run in plan.runs}
    outcome = play(playbook, session, limits, verbose=bool(args.verbose))
    if outcome.interrupted and discard_unopened(session):
        print("interrupted before anything was started", file=sys.stderr)
        return exit_codes.INTERRUPTED
    if args.preflight_only:
        if outcome.interrupted:
            end_preflight(playbook, session)
        return _examined(session, outcome.code, interrupted=outcome.interrupted)
    if outcome.interrupted:
        print("interrupted", file=sys.stderr)
        # A resumed session's playbook may ask just the hosts of the runs that are repeated.
        halt(replace(playbook, bundle=open_session(session).bundle), session, "interrupted")
    return finish(session, outcome.code, interrupted=outcome.interrupted)


def _examined(session: Path, code: int, *, interrupted: bool) -> int:
    from compiler.runner.preflight import text_of
    from compiler.runner.run import log_tail

    text = text_of(session)
    if text is not None:
        print(text)
    if interrupted:
        print("interrupted", file=sys.stderr)
        return exit_codes.INTERRUPTED
    if text is None:
        print(f"{log_tail(session)}\ndeepep-compiler: ansible-playbook ended with {code}", file=sys.stderr)
        return exit_codes.NOT_PASSED
    return exit_codes.OK if code == 0 else exit_codes.NOT_PASSED


def finish(session: Path, code: int, *, interrupted: bool) -> int:
    """Judges a session, writes its reports and prints the table; returns the command's exit code."""
    from compiler.report.write import NotAResultTreeError, write_reports
    from compiler.runner.preflight import selftest_text
    from compiler.runner.run import log_tail

    alone = selftest_text(session)
    if alone is not None:
        print(alone)
    try:
        passed, text = write_reports(session)
    except NotAResultTreeError as error:
        print(
            f"{log_tail(session)}\ndeepep-compiler: ansible-playbook ended with {code}: {error}",
            file=sys.stderr,
        )
        return exit_codes.INTERRUPTED if interrupted else exit_codes.NOT_PASSED
    print(text)
    if interrupted:
        return exit_codes.INTERRUPTED
    if code != 0 and passed:
        print(
            f"{log_tail(session)}\nevery run passed, but ansible-playbook ended with {code}", file=sys.stderr
        )
    return exit_codes.OK if passed and code == 0 else exit_codes.NOT_PASSED
