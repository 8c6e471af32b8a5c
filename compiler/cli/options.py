"""Options that several commands share."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compiler.settings import Projects


def add_scenario(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Adds the scenario and where its tests lie."""
    parser.add_argument("scenario", metavar="SCENARIO", nargs=None if required else "?", help="scenario TOML")
    parser.add_argument(
        "--tests-dir", metavar="DIR", help="folder of test TOMLs (default: tests/ beside the scenario)"
    )
    add_hooks(parser)


def add_hooks(parser: argparse.ArgumentParser) -> None:
    """Adds where the hooks of scenarios lie."""
    parser.add_argument(
        "--hook-dir", metavar="DIR",
        help="folder of hook scenarios, their tests in test/ below (default: the nearest hook/)",
    )  # fmt: skip


def add_inventory(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Adds the inventory and what decides how Ansible reads it."""
    parser.add_argument(
        "-i", "--inventory", metavar="INV", action="append", required=required,
        help="Ansible inventory: file, directory, script or plugin configuration; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "-e", "--extra-vars", metavar="VARS", action="append", default=[], help="as Ansible's -e"
    )
    parser.add_argument("--vault-id", metavar="ID", action="append", help="as Ansible's")
    parser.add_argument("--vault-password-file", metavar="FILE", action="append", help="as Ansible's")
    parser.add_argument("--ask-vault-pass", action="store_true", help="as Ansible's")


def add_exclude(parser: argparse.ArgumentParser) -> None:
    """Adds hosts that are left out."""
    parser.add_argument(
        "--exclude", metavar="HOST", action="append", default=[],
        help="never choose this host; a name or a range such as node[01-04], may be given again",
    )  # fmt: skip


def add_selftest(parser: argparse.ArgumentParser) -> None:
    """Adds the self-test."""
    parser.add_argument(
        "--selftest", action="store_true",
        help="run the benchmark on every host alone first; hosts that fail take part in nothing else",
    )  # fmt: skip


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Adds how Ansible connects; everything here is handed to ``ansible-playbook`` unchanged."""
    group = parser.add_argument_group("handed to ansible-playbook")
    group.add_argument("-u", "--user", metavar="NAME")
    group.add_argument("-k", "--ask-pass", action="store_true")
    group.add_argument("--private-key", metavar="FILE")
    group.add_argument("--ssh-common-args", metavar="ARGS")
    group.add_argument("--connection-password-file", metavar="FILE")
    group.add_argument("-b", "--become", action="store_true")
    group.add_argument("-K", "--ask-become-pass", action="store_true")
    group.add_argument("--become-user", metavar="NAME")
    group.add_argument("--become-method", metavar="METHOD")
    group.add_argument("--become-password-file", metavar="FILE")
    group.add_argument("--forks", metavar="N", type=int)
    group.add_argument("-T", "--timeout", metavar="SECONDS", type=int)
    group.add_argument(
        "-v", "--verbose", action="count", default=0, help="Ansible's own output, -vvvv for all of it"
    )


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Adds what is checked and what is assumed; a project file may say the same."""
    group = parser.add_argument_group("rules (deepep-compiler explain CODE tells a rule's story)")
    group.add_argument(
        "--select", metavar="CODES", action="append", default=[],
        help="show only these findings: codes, beginnings of codes or slugs, with commas",
    )  # fmt: skip
    group.add_argument(
        "--ignore", metavar="CODES", action="append", default=[], help="do not show these findings"
    )
    group.add_argument(
        "--assume-backend", choices=("deepep", "deepep_v1", "deepep_v2", "nccl", "gloo"),
        help="check the limits of this backend, in place of the inventory's (with 8 ranks per host)",
    )  # fmt: skip
    group.add_argument(
        "--assume-ranks-per-host", metavar="N", type=int, help="check with so many ranks per host"
    )
    group.add_argument(
        "--assume-deepep-version", metavar="VERSION", help="version of DeepEP in the image, e.g. 1.2.1"
    )


def projects(args: argparse.Namespace) -> Projects | None:
    """Returns the settings of options and project files; None, said on stderr, for wrong options."""
    from compiler.diagnostics.switches import Switches, unknown_code
    from compiler.rules.assumptions import Assumptions
    from compiler.settings import Projects, Settings

    select, ignore = _names(args.select), _names(args.ignore)
    for option, names in (("--select", select), ("--ignore", ignore)):
        for name in names:
            hint = unknown_code(name)
            if hint is not None:
                _wrong(args, f"{option}: there is no code {name!r}; {hint}")
                return None
    ranks = args.assume_ranks_per_host
    if ranks is not None and not 1 <= ranks <= 1024:
        _wrong(args, f"--assume-ranks-per-host: {ranks} is not between 1 and 1024")
        return None
    assume = Assumptions(args.assume_backend, args.assume_deepep_version, ranks)
    return Projects(Settings(Switches(select, ignore), assume, bool(getattr(args, "strict", False))))


def _names(given: list[str]) -> tuple[str, ...]:
    return tuple(name.strip() for text in given for name in text.split(",") if name.strip())


def _wrong(args: argparse.Namespace, message: str) -> None:
    print(f"deepep-compiler {args.command}: error: {message}", file=sys.stderr)
