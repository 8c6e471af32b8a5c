"""``deepep-compiler compare``: says whether NEW is better or worse than BASE, with a promised error rate."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from compiler.cli import exit_codes

_EPILOG = """exit codes: 0 nothing got worse · 1 a tree cannot be read, or nothing in it may be compared ·
2 wrong usage · 4 a figure got worse

A figure needs at least two starts (iterations of an entry) a side; five or more say something useful.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "compare",
        help="compare two result trees statistically",
        description="Pairs equal configurations of two result trees and says for each figure whether it is "
        "better, worse, the same, or whether these data cannot tell.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("base", metavar="BASE", type=Path, help="result tree to compare with")
    parser.add_argument("new", metavar="NEW", type=Path, help="result tree in question")
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text")
    parser.add_argument(
        "--threshold", metavar="PERCENT", type=_percent, default=3.0,
        help="a difference within this many percent is called 'same' (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--alpha", metavar="P", type=_probability, default=0.05,
        help="probability of any false alarm in the whole comparison (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--include-unverified", action="store_true",
        help="also use runs whose verdict is UNVERIFIED, such as those of an image's own program",
    )  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Runs the command."""
    from compiler.compare.model import Side
    from compiler.compare.tree import TreeError, read_tree

    verdicts = frozenset({"PASS", "UNVERIFIED"} if args.include_unverified else {"PASS"})
    if args.base.resolve() == args.new.resolve():
        return _fail("BASE and NEW are the same result tree: there is nothing to compare")
    try:
        base = read_tree(args.base, Side.BASE, verdicts)
        new = read_tree(args.new, Side.NEW, verdicts)
    except TreeError as error:
        return _fail(str(error))
    if base.run_id is not None and base.run_id == new.run_id:
        return _fail(
            f"BASE and NEW are copies of the same session, {base.run_id}: there is nothing to compare"
        )

    from compiler.compare.judge import compare
    from compiler.compare.model import Outcome
    from compiler.compare.render_json import to_json
    from compiler.compare.render_text import render_markdown, render_text

    comparison = compare(base, new, alpha=args.alpha, threshold=args.threshold / 100)
    match args.format:
        case "json":
            sys.stdout.write(json.dumps(to_json(comparison), indent=2, allow_nan=False) + "\n")
        case "markdown":
            sys.stdout.write(render_markdown(comparison))
        case _:
            sys.stdout.write(render_text(comparison))
    if not comparison.findings:
        return exit_codes.INPUT_ERROR
    return exit_codes.REGRESSION if comparison.outcome is Outcome.WORSE else exit_codes.OK


def _fail(text: str) -> int:
    print(f"error: {text}", file=sys.stderr)
    return exit_codes.INPUT_ERROR


def _percent(text: str) -> float:
    value = _number(text.removesuffix("%"))
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 100, in percent")
    return value


def _probability(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 0.5:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 0.5")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
