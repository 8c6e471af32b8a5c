"""``report``: judges a result tree and writes its reports."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from compiler.cli import exit_codes


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the command line."""
    parser = subparsers.add_parser(
        "report",
        help="judge a result tree and write its reports",
        description="Judges a result tree from its files alone and writes summary.json, "
        "summary.csv, junit.xml, manifest.json and one HTML page that needs no network.",
        epilog="exit codes: 0 every run passed · 1 RESULTS is no result tree · 3 a run did not pass",
    )
    parser.add_argument("results", metavar="RESULTS", type=Path, help="directory of one session")


def main(args: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    from compiler.report.write import NotAResultTreeError, write_reports

    top: Path = args.results
    try:
        passed, text = write_reports(top)
    except NotAResultTreeError as error:
        print(f"error: {error}", file=sys.stderr)
        print(_advice(top), file=sys.stderr)
        return exit_codes.INPUT_ERROR
    except OSError as error:
        print(f"error: cannot write the reports of {top}: {error}", file=sys.stderr)
        return exit_codes.INPUT_ERROR
    print(text)
    return exit_codes.OK if passed else exit_codes.NOT_PASSED


def _advice(top: Path) -> str:
    below = sorted(path.parent for path in top.glob("*/plan.json")) if top.is_dir() else []
    if below:
        return f"  it holds result trees, name one of them: {', '.join(map(str, below[-3:]))}"
    return "  name the directory that a run has made: <results>/<scenario>_<date>_<time>"
