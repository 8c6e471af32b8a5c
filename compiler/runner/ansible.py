"""Starts ``ansible-playbook`` as a user would: same arguments, same configuration, its output in a log."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PLAIN_FLAGS = ("--ask-vault-pass", "--become", "--ask-become-pass", "--ask-pass")
VALUE_FLAGS = (
    "--vault-id",
    "--vault-password-file",
    "--become-user",
    "--become-method",
    "--become-password-file",
    "--user",
    "--private-key",
    "--ssh-common-args",
    "--connection-password-file",
    "--forks",
    "--timeout",
)


class AnsibleMissingError(Exception):
    """No ``ansible-playbook`` beside this interpreter or on PATH."""


def executable(name: str) -> Path:
    """Returns Ansible's command ``name``: the one beside this interpreter first, then the one on PATH.

    Raises AnsibleMissingError with the way out.
    """
    beside = Path(sys.executable).with_name(name)
    if beside.is_file():
        return beside
    found = shutil.which(name)
    if found is None:
        raise AnsibleMissingError(f"{name} is not installed: pip install 'ansible-core>=2.18'")
    return Path(found)


@dataclass(frozen=True, slots=True)
class Playbook:
    """One call of ``ansible-playbook`` in a bundle."""

    bundle: Path
    name: str
    inventories: tuple[str, ...]
    extra_vars: tuple[str, ...]
    options: tuple[str, ...]
    own_inventory: str | None = "inventory/hosts.yml"
    """The bundle's inventory comes first, so that the user's adds to it."""

    def argv(self) -> list[str]:
        """Returns the command line."""
        inventories = [*filter(None, [self.own_inventory]), *self.inventories]
        return [
            str(executable("ansible-playbook")),
            *(part for inventory in inventories for part in ("-i", inventory)),
            *(part for value in self.extra_vars for part in ("-e", value)),
            *self.options,
            self.name,
        ]

    def start(self, log: Path | None) -> subprocess.Popen[bytes]:
        """Starts it in the caller's process group, so that password prompts reach the terminal.

        Where Ctrl-C is ignored (a script's job in the background), it gets a group of its own: Ansible would
        stop ignoring it. Output goes to ``log`` (appended), or to the terminal when there is none.
        """
        environment = {**os.environ, "ANSIBLE_CONFIG": str(self.bundle / "ansible.cfg")}
        group = 0 if signal.getsignal(signal.SIGINT) is signal.SIG_IGN else None
        with log.open("ab") if log else contextlib.nullcontext() as sink:
            return subprocess.Popen(  # noqa: S603
                self.argv(),
                cwd=self.bundle,
                env=environment,
                stdout=sink,
                stderr=subprocess.STDOUT if sink else None,
                process_group=group,
            )


def end(process: subprocess.Popen[bytes], patience_s: float = 15.0) -> None:
    """Ends a running playbook; its tasks on hosts that are detached go on until ``stop.yml``."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s if number is not signal.SIGINT else 3)
            return
        process.send_signal(number)
    process.wait()


def pass_through(values: dict[str, object]) -> tuple[str, ...]:
    """Turns parsed command line options back into Ansible's own (see ``cli/options.py``)."""
    found: list[str] = []
    for flag in PLAIN_FLAGS:
        if values.get(flag.strip("-").replace("-", "_")):
            found.append(flag)
    for flag in VALUE_FLAGS:
        value = values.get(flag.strip("-").replace("-", "_"))
        for item in _items(value):
            found += [flag, item]
    verbosity = values.get("verbose")
    if isinstance(verbosity, int) and verbosity:
        found.append("-" + "v" * verbosity)
    return tuple(found)


def _items(value: object) -> Sequence[str]:
    if value is None:
        return ()
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]
