"""``reference accept``: makes reference values of a run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from compiler.cli import exit_codes

DEFAULT = Path("references/own.toml")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the command line."""
    parser = subparsers.add_parser(
        "reference",
        help="make reference values of a run",
        description="Reference values: what a run of equal hardware, software and settings should reach.",
        epilog="exit codes: 0 written · 1 RESULTS holds nothing to accept, or FILE is no file of references",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    accepting = actions.add_parser(
        "accept",
        help="write or update references from the runs of a tree that passed",
        description="Writes the figures of RESULTS's runs that passed into FILE, with the interval over "
        "independent starts (iterations of an entry) and where they come from; values of the same match "
        "and figure are replaced.",
    )
    accepting.add_argument("results", metavar="RESULTS", type=Path, help="directory of one session")
    accepting.add_argument(
        "-o", "--output", metavar="FILE", type=Path, default=DEFAULT, help="default: %(default)s"
    )
    accepting.add_argument(
        "--tolerance", metavar="PERCENT", type=_percent, default=10.0,
        help="by how much a run may be worse (default: %(default)g); more where the starts differ by more",
    )  # fmt: skip
    accepting.add_argument(
        "--include-marked", action="store_true",
        help="also take what is marked: measured while a GPU was throttled or shared, under nsys, or in "
        "unknown conditions",
    )  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    from compiler.reference.accept import NothingToAcceptError, UnusableReferencesError, accept
    from compiler.report.host_judge import NotAResultTreeError

    try:
        done = accept(args.results, args.output, args.tolerance / 100, args.include_marked)
    except (NothingToAcceptError, UnusableReferencesError, NotAResultTreeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return exit_codes.INPUT_ERROR
    except OSError as error:
        print(f"error: cannot write {args.output}: {error}", file=sys.stderr)
        return exit_codes.INPUT_ERROR
    for why in done.left_out:
        print(f"left out: {why}")
    print(f"{args.output}: {done.new} new, {done.replaced} replaced")
    return exit_codes.OK


def _percent(text: str) -> float:
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and below 100, in percent")
    return value
