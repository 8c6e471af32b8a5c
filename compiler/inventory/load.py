"""Asks ``ansible-inventory`` for the inventory, so that whatever Ansible reads works here too."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic
from compiler.inventory.listing import read_listing
from compiler.inventory.model import Inventory
from compiler.runner.ansible import AnsibleMissingError, executable

_NO_WARNINGS_AS_SUCCESS = {
    # A source that cannot be parsed is otherwise a warning and an empty inventory.
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
    "ANSIBLE_NOCOLOR": "true",
    "ANSIBLE_DEPRECATION_WARNINGS": "false",
}


def load_inventory(
    sources: Sequence[str], vault_args: Sequence[str] = (), extra_vars: Sequence[str] = ()
) -> tuple[Inventory | None, list[Diagnostic]]:
    """Returns the inventory of ``sources`` (as ``-i`` takes them), or None with the errors.

    ``vault_args`` and ``extra_vars`` are Ansible's own options and the values of its ``-e``; extra variables
    win over the inventory's, as they do in a play.
    """
    label = ", ".join(sources)
    for source in sources:
        if "," not in source and not Path(source).exists():
            return None, [
                _unreadable(
                    f"the inventory {source} does not exist",
                    "name a file, a directory, or host names with a comma",
                )
            ]
    try:
        command = str(executable("ansible-inventory"))
    except AnsibleMissingError as missing:
        return None, [_unreadable(str(missing), "install ansible-core in the environment of deepep-compiler")]
    argv = [
        command,
        "--list",
        *(part for source in sources for part in ("-i", source)),
        *vault_args,
        *(part for value in extra_vars for part in ("-e", value)),
    ]
    done = subprocess.run(  # noqa: S603
        argv,
        env={**os.environ, **_NO_WARNINGS_AS_SUCCESS},
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        return None, [
            _unreadable(
                f"ansible-inventory cannot read {label}: {_reason(done.stderr.decode(errors='replace'))}",
                f"`ansible-inventory -i {sources[0]} --list` shows all that Ansible says",
            )
        ]
    return _parse(done.stdout, label, sources)


def load_inventory_json(path: Path) -> tuple[Inventory | None, list[Diagnostic]]:
    """Returns the inventory that an earlier ``ansible-inventory --list`` printed into ``path``."""
    try:
        text = path.read_bytes()
    except OSError as failure:
        return None, [
            _unreadable(f"{path}: {failure.strerror}", "name a file that `ansible-inventory --list` wrote")
        ]
    return _parse(text, str(path), [str(path)])


def _parse(text: bytes, label: str, sources: Sequence[str]) -> tuple[Inventory | None, list[Diagnostic]]:
    try:
        listing = json.loads(text)
    except ValueError:
        listing = None
    if not isinstance(listing, dict):
        return None, [
            _unreadable(
                f"{label}: not what `ansible-inventory --list` prints", "ask for JSON, without --yaml"
            )
        ]
    return read_listing(cast("dict[str, object]", listing), label, [_directory(source) for source in sources])


def _directory(source: str) -> Path:
    """Returns what ``inventory_dir`` is for the hosts of ``source``; symbolic links stay as they are."""
    if "," in source:
        return Path.cwd()
    path = Path(os.path.abspath(source))  # noqa: PTH100  (resolve() would follow links, Ansible does not)
    return path if path.is_dir() else path.parent


def _unreadable(message: str, fix: str) -> Diagnostic:
    return finding("inventory-unreadable", message, None, fix=fix)


def _reason(stderr: str) -> str:
    """Returns the first error of Ansible's output in one line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    for line in lines:
        found = re.match(r"(?:\[ERROR\]: |ERROR! )(.*)", line)
        if found:
            return found[1]
    return lines[-1] if lines else "it says nothing about why"
