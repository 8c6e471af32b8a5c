"""Which inventory variables may be read at all. Everything else, secrets first, is never looked at."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from compiler.resources import resource
from compiler.schema.store import properties

_CONNECTION = """
become become_exe become_flags become_method become_user connection control_path control_path_dir host
host_key_checking pipelining port private_key_file python_interpreter remote_tmp scp_extra_args
sftp_extra_args shell_executable shell_type ssh_args ssh_common_args ssh_executable ssh_extra_args
ssh_host_key_checking ssh_pipelining ssh_private_key_file ssh_retries ssh_timeout ssh_transfer_method
ssh_use_tty timeout user
"""

_NEVER_READ = """
become_pass become_password password private_key_passphrase ssh_pass ssh_password ssh_private_key
ssh_private_key_passphrase su_pass sudo_pass
"""

CONNECTION = frozenset("ansible_" + name for name in _CONNECTION.split())
"""How Ansible connects; these travel into the bundle as they are, templates included."""

SECRET = frozenset("ansible_" + name for name in _NEVER_READ.split())
"""Connection secrets: they come at run time (a second ``-i``, a vault file, a prompt), never through here."""

AT_RUN_TIME = frozenset({"deepep_results", "deepep_results_dir"})
"""Extra variables of the bundle's playbooks; they mean nothing to the compiler."""

INVENTORY_DIR = re.compile(r"\{\{\s*inventory_dir\s*\}\}")
"""The one template that the compiler replaces itself: the directory of the inventory's source."""

TEMPLATE = re.compile(r"\{\{|\{%|\{#")
"""What makes Ansible treat a text as a template."""

_ROLE_VARIABLE = re.compile(r"^(deepep_[a-z0-9_]+):", re.MULTILINE)
_SECRET_WORDS = ("password", "token", "secret", "credential")


@cache
def schema() -> Mapping[str, Mapping[str, object]]:
    """Returns the ``deepep_*`` variables: name -> its JSON Schema (type, default, limits)."""
    return properties("inventory")


@cache
def of_roles() -> frozenset[str]:
    """Returns the variables that the roles publish in ``defaults/main.yml``, without those for secrets."""
    names: set[str] = set()
    for defaults in resource("roles").glob("deepep_*/defaults/main.yml"):
        names.update(_ROLE_VARIABLE.findall(defaults.read_text(encoding="utf-8")))
    return frozenset(name for name in names if not any(word in name for word in _SECRET_WORDS))
