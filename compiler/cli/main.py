"""Command line: finds the command and hands over. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from compiler import __version__
from compiler.cli import exit_codes

COMMANDS = {
    "lint": "compiler.cli.lint",
    "plan": "compiler.cli.plan",
    "compile": "compiler.cli.compile",
    "run": "compiler.cli.run",
    "status": "compiler.cli.status",
    "stop": "compiler.cli.stop",
    "logs": "compiler.cli.logs",
    "collect": "compiler.cli.collect",
    "report": "compiler.cli.report",
    "compare": "compiler.cli.compare",
    "reference": "compiler.cli.reference",
    "doctor": "compiler.cli.doctor",
    "cleanup": "compiler.cli.cleanup",
    "schema": "compiler.cli.schema",
    "explain": "compiler.cli.explain",
    "import-system": "compiler.cli.import_system",
}
"""Every command's module, in the order in which ``--help`` lists them."""

_EPILOG = """exit codes: 0 fine, 1 the input has errors, 2 wrong usage, 3 a test did not pass,
4 a regression (compare), 130 interrupted
"""


class Command(Protocol):
    """What a command's module offers."""

    def add_parser(self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None: ...

    def main(self, args: argparse.Namespace) -> int: ...


def _parser(only: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deepep-compiler",
        description="Checks DeepEP tests and scenarios, compiles them to playbooks, runs and judges them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"deepep-compiler {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in [only] if only else COMMANDS:
        cast("Command", import_module(COMMANDS[name])).add_parser(subparsers)
    return parser


def run(argv: Sequence[str]) -> int:
    """Runs one command line and returns its exit code (:mod:`compiler.cli.exit_codes`)."""
    only = argv[0] if argv and argv[0] in COMMANDS else None
    args = _parser(only).parse_args(argv)
    return cast("Command", import_module(COMMANDS[args.command])).main(args)


def entry() -> None:
    """Console script. A reader that closes the pipe early (``| head``) is no error."""
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = exit_codes.OK
    except KeyboardInterrupt:
        code = exit_codes.INTERRUPTED
    sys.exit(code)
