"""How this playbook was told to reach its hosts, for those who ask them later: no secret is ever among it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.parsing.splitter import parse_kv
from ansible.parsing.utils.yaml import from_yaml

_VALUES = {
    "remote_user": "--user",
    "private_key_file": "--private-key",
    "ssh_common_args": "--ssh-common-args",
    "ssh_extra_args": "--ssh-extra-args",
    "sftp_extra_args": "--sftp-extra-args",
    "scp_extra_args": "--scp-extra-args",
    "become_user": "--become-user",
    "become_password_file": "--become-password-file",
    "connection_password_file": "--connection-password-file",
    "timeout": "--timeout",
}
_FLAGS = {
    "become": "--become",
    "ask_pass": "--ask-pass",
    "become_ask_pass": "--ask-become-pass",
    "ask_vault_pass": "--ask-vault-pass",
}
_LISTS = {"vault_ids": "--vault-id", "vault_password_files": "--vault-password-file"}

_OF_ONE_CALL = frozenset(
    {"deepep_results", "deepep_results_dir", "deepep_resume", "deepep_run_resume", "deepep_run_stop_cause"}
)
_KEPT = re.compile(r"(deepep|ansible)_[a-z0-9_]+")
_SECRET = re.compile(r"pass|secret|token|key$|auth|credential|registr|vault", re.IGNORECASE)


def given(arguments: Mapping[str, Any], bundle: Path) -> dict[str, list[str]]:
    """Returns what of ``ansible-playbook``'s command line another call needs to reach the same hosts.

    ``inventories`` without the bundle's own, ``extra_vars`` and ``options`` as they are on the command line.
    ``left_out`` names what was given and is not kept: it may be a secret, or is of no known use.
    """
    options = [_FLAGS[name] for name in _FLAGS if arguments.get(name)]
    left_out = []
    for name, flag in _VALUES.items():
        value = arguments.get(name)
        if value is None:
            continue
        if "args" in name and _SECRET.search(str(value)):
            left_out.append(flag)
        else:
            options.append(f"{flag}={value}")
    if arguments.get("become") and arguments.get("become_method"):
        options.append(f"--become-method={arguments['become_method']}")
    for name, flag in _LISTS.items():
        options += [f"{flag}={value}" for value in arguments.get(name) or ()]
    extra_vars, unkept = _extra_vars(arguments.get("extra_vars") or ())
    inventories = [
        str(source)
        for source in arguments.get("inventory") or ()
        if "," in str(source) or not Path(source).is_relative_to(bundle)
    ]
    return {
        "inventories": inventories,
        "extra_vars": extra_vars,
        "options": options,
        "left_out": [*left_out, *(f"-e {name}" for name in unkept)],
    }


def _extra_vars(words: Sequence[str]) -> tuple[list[str], list[str]]:
    kept: list[str] = []
    left_out: list[str] = []
    for word in words:
        if word.startswith("@"):
            kept.append(f"@{Path(word[1:]).absolute()}")
            continue
        values: dict[str, Any] = {}
        for name, value in _pairs(word):
            plain = value is None or isinstance(value, str | int | float | bool)
            if name in _OF_ONE_CALL:
                continue
            if plain and _KEPT.fullmatch(name) and not _SECRET.search(name):
                values[name] = value
            else:
                left_out.append(name)
        if values:
            kept.append(json.dumps(values))
    return kept, left_out


def _pairs(word: str) -> Iterator[tuple[str, Any]]:
    try:
        found = from_yaml(word) if word[:1] in "[{" else parse_kv(word)
    except (AnsibleError, ValueError):
        return
    for name, value in found.items() if isinstance(found, dict) else ():
        yield str(name), value
