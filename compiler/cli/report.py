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
    parser.add_argument(
        "results", metavar="RESULTS", type=Path,
        help="directory of one session; or results of the bundled benchmark, started by hand; or a result "
        "directory of CloudAI's DeepEP benchmarks, or a file with the output of one of DeepEP's own tests",
    )  # fmt: skip
    parser.add_argument("--compare", metavar="BASE", type=Path, help="add a comparison with this result tree")
    parser.add_argument(
        "--references", metavar="PATH", type=Path, action="append", default=[],
        help="file or folder of reference values, beside those that come with the compiler (may be repeated)",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path,
        help="where the reports of a foreign tree go (default: <its name>-report in the current directory)",
    )  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    from compiler.report.write import NotAResultTreeError, UnusableReferencesError, write_reports

    top: Path = args.results
    if top.exists() and not (top / "plan.json").exists():
        code = _foreign(args)
        if code is not None:
            return code
    if args.output is not None and (top / "plan.json").exists():
        print("error: --output is for foreign trees; the reports of RESULTS lie in it", file=sys.stderr)
        return exit_codes.USAGE
    try:
        passed, text = write_reports(top, args.compare, args.references)
    except NotAResultTreeError as error:
        print(f"error: {error}", file=sys.stderr)
        print(_advice(top), file=sys.stderr)
        return exit_codes.INPUT_ERROR
    except UnusableReferencesError as error:
        print(f"error: {error}", file=sys.stderr)
        return exit_codes.INPUT_ERROR
    except OSError as error:
        print(f"error: cannot write the reports of {top}: {error}", file=sys.stderr)
        return exit_codes.INPUT_ERROR
    print(text)
    return exit_codes.OK if passed else exit_codes.NOT_PASSED


def _foreign(args: argparse.Namespace) -> int | None:
    """Reports on a foreign tree; None where it is none that is known."""
    from compiler.reference.load import UnusableReferencesError, read_references, shipped
    from compiler.report.foreign.imported import read_foreign, write_imported

    tree = read_foreign(args.results)
    if tree is None:
        return None
    target: Path = args.output or Path(f"{tree.name}-report")
    if args.compare is not None:
        print("error: a foreign tree cannot be compared: nothing proves its figures", file=sys.stderr)
        return exit_codes.USAGE
    try:
        page, text = write_imported(tree, target, read_references([*shipped(), *args.references]))
    except UnusableReferencesError as error:
        print(f"error: {error}", file=sys.stderr)
        return exit_codes.INPUT_ERROR
    except OSError as error:
        print(f"error: cannot write to {target}: {error}", file=sys.stderr)
        return exit_codes.INPUT_ERROR
    print(f"{text}\n{tree.origin}: UNVERIFIED at best.\nReport: {page}")
    return exit_codes.NOT_PASSED


def _advice(top: Path) -> str:
    below = sorted(path.parent for path in top.glob("*/plan.json")) if top.is_dir() else []
    if below:
        return f"  it holds result trees, name one of them: {', '.join(map(str, below[-3:]))}"
    return "  name the directory that a run has made: <results>/<scenario>_<date>_<time>"
