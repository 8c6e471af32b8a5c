"""Options that several commands share."""

from __future__ import annotations

import argparse


def add_scenario(parser: argparse.ArgumentParser) -> None:
    """Adds the scenario and where its tests lie."""
    parser.add_argument("scenario", metavar="SCENARIO", help="scenario TOML")
    parser.add_argument(
        "--tests-dir", metavar="DIR", help="folder of test TOMLs (default: tests/ beside the scenario)"
    )


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
