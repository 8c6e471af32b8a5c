"""``import-system``: a CloudAI system TOML as an Ansible inventory."""

from __future__ import annotations

import argparse
from pathlib import Path

from compiler.cli import exit_codes, planning


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "import-system",
        help="turn a CloudAI system TOML into an Ansible inventory",
        description="Writes an inventory (hosts.yml, group_vars/all.yml) from a CloudAI system TOML.",
    )
    parser.add_argument("system", metavar="SYSTEM.toml", help="CloudAI system TOML")
    parser.add_argument(
        "-o", "--output", metavar="DIR", required=True, help="new directory for the inventory"
    )


def main(args: argparse.Namespace) -> int:
    """Returns 0, or 1 where the TOML has errors or the directory cannot be written."""
    from compiler.diagnostics.codes import finding
    from compiler.diagnostics.model import Diagnostic, Severity
    from compiler.document.read import read_document
    from compiler.emit.inventory_dir import write_inventory
    from compiler.inventory.system import not_carried, read_system
    from compiler.schema.validate import validate

    document = read_document(Path(args.system))
    if isinstance(document, Diagnostic):
        planning.show([document])
        return exit_codes.INPUT_ERROR
    findings = validate(document.path, document.data, "system")
    if not findings:
        system, more = read_system(document)
        findings = [*more, *not_carried(document)]
        if not any(found.severity is Severity.ERROR for found in findings):
            try:
                write_inventory(system, Path(args.output))
            except FileExistsError as error:
                findings.append(finding("foreign-folder", str(error), None, why="Nothing is overwritten."))
            except OSError as error:
                findings.append(
                    finding("foreign-folder", f"cannot write {args.output}: {error.strerror}", None)
                )
    planning.show(findings)
    if any(found.severity is Severity.ERROR for found in findings):
        return exit_codes.INPUT_ERROR
    print(args.output)
    return exit_codes.OK
