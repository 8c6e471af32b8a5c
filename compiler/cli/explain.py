"""``deepep-compiler explain``: the whole story of a code."""

from __future__ import annotations

import argparse
import sys

from compiler.cli import exit_codes


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's arguments."""
    parser = subparsers.add_parser(
        "explain",
        help="tell the whole story of a diagnostic",
        description="Tells what a code means, why, from which source, how to get out, with examples; "
        "without CODE lists all of them.",
    )
    parser.add_argument("code", metavar="CODE", nargs="?", help="code or slug, e.g. DEP301")


def main(args: argparse.Namespace) -> int:
    """Returns 0, or 2 for a code that does not exist."""
    from compiler.diagnostics.codes import all_codes, code_of
    from compiler.diagnostics.story import one_line, story
    from compiler.diagnostics.wording import nearest

    if args.code is None:
        for code in all_codes():
            print(one_line(code))
        return exit_codes.OK
    found = code_of(args.code.upper()) or code_of(args.code.lower())
    if found is None:
        meant = nearest(args.code, [name for code in all_codes() for name in (code.slug, code.code)])
        hint = f"did you mean {meant}?" if meant else "without CODE all of them are listed"
        print(f"deepep-compiler explain: error: there is no code {args.code}; {hint}", file=sys.stderr)
        return exit_codes.USAGE
    print("\n".join(story(found)))
    return exit_codes.OK
