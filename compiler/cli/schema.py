"""``deepep-compiler schema``: prints a JSON Schema."""

from __future__ import annotations

import argparse
import sys

from compiler.cli import exit_codes


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's arguments."""
    parser = subparsers.add_parser(
        "schema",
        help="print the JSON Schema of a file format",
        description="Prints a schema in one piece (what it refers to is embedded); without NAME, the names.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="e.g. scenario, or test.DeepEPBenchmark")


def main(args: argparse.Namespace) -> int:
    """Returns 0, or 2 for a name that does not exist."""
    import json

    from compiler.diagnostics.wording import listing, nearest
    from compiler.schema import store

    names = store.names()
    if args.name is None:
        print("\n".join(names))
        return exit_codes.OK
    name = args.name.removesuffix(".schema.json")
    if name not in names:
        meant = nearest(name, names)
        hint = f"did you mean {meant}?" if meant else f"there are {listing(names, 'and')}"
        print(f"deepep-compiler schema: error: there is no schema {name}; {hint}", file=sys.stderr)
        return exit_codes.USAGE
    json.dump(store.bundled(name), sys.stdout, indent=2, ensure_ascii=False)
    print()
    return exit_codes.OK
