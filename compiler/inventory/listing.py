"""What ``ansible-inventory --list`` prints -> Inventory. Nothing here runs Ansible."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic, Severity
from compiler.inventory import settings, variables
from compiler.inventory.model import Host, Inventory, Settings

_IMPLICIT = ("all", "ungrouped")
_AT_RUN_TIME_WORDS = """
inventory_hostname inventory_hostname_short inventory_file ansible_playbook_python playbook_dir lookup query q
omit now undef groups group_names hostvars
"""
_AT_RUN_TIME = frozenset(_AT_RUN_TIME_WORDS.split())
"""What every template may use when the bundle runs."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHOWN = 4


def read_listing(
    listing: Mapping[str, object], source: str, directories: Sequence[Path]
) -> tuple[Inventory | None, list[Diagnostic]]:
    """Returns the inventory that ``listing`` describes, or None with the errors.

    ``directories`` are those of the inventory's sources, for ``{{ inventory_dir }}``.
    """
    groups = _groups(listing)
    if not groups["all"]:
        return None, [
            finding(
                "inventory-empty",
                f"the inventory {source} has no hosts",
                None,
                fix="name an inventory with hosts: a file, a directory, a script, or host names with commas",
            )
        ]
    reader = _HostReader(_hostvars(listing), directories, groups)
    hosts = {name: host for name in groups["all"] if (host := reader.host(name)) is not None}
    findings = reader.findings()
    if any(finding.severity is Severity.ERROR for finding in findings):
        return None, findings
    return Inventory(
        source, hosts, {name: members for name, members in groups.items() if name != "all"}
    ), findings


def _hostvars(listing: Mapping[str, object]) -> Mapping[str, Mapping[str, object]]:
    meta = cast("Mapping[str, Mapping[str, Mapping[str, object]]]", listing.get("_meta", {}))
    return meta.get("hostvars", {})


def _groups(listing: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """Returns each group's hosts: its own first, then its children's, each group in its own order."""
    found: dict[str, tuple[str, ...]] = {}

    def members(name: str) -> tuple[str, ...]:
        if name not in found:
            found[name] = ()
            group = cast("Mapping[str, list[str]]", listing.get(name, {}))
            names = dict.fromkeys(group.get("hosts", ()))
            for child in group.get("children", ()):
                names.update(dict.fromkeys(members(child)))
            found[name] = tuple(names)
        return found[name]

    members("all")
    return found


class _HostReader:
    """Reads hosts; hosts with equal variables are checked once, and equal findings are told once."""

    def __init__(
        self,
        hostvars: Mapping[str, Mapping[str, object]],
        directories: Sequence[Path],
        groups: Mapping[str, tuple[str, ...]],
    ) -> None:
        self._hostvars = hostvars
        distinct = {str(directory) for directory in directories}
        self._directory = distinct.pop() if len(distinct) == 1 else None
        self._groups_of: dict[str, list[str]] = {}
        for group, names in groups.items():
            if group not in _IMPLICIT:
                for name in names:
                    self._groups_of.setdefault(name, []).append(group)
        self._settings: dict[str, tuple[Settings | None, list[settings.Problem]]] = {}
        self._found: dict[tuple[str, str, str], list[str]] = {}

    def host(self, name: str) -> Host | None:
        """Returns the host, or None where it has errors (kept for :meth:`findings`)."""
        hostvars = self._hostvars.get(name, {})
        connection = hostvars.get("ansible_connection", "ssh")
        connection = connection if isinstance(connection, str) else "ssh"
        own = {key: value for key, value in hostvars.items() if key.startswith("deepep_")}
        key = json.dumps([connection == "local", own], sort_keys=True)
        if key not in self._settings:
            self._settings[key] = settings.read(own, self._directory, connection == "local")
        values, problems = self._settings[key]
        for problem in problems:
            self._note(problem.slug, problem.message, problem.fix, name)
        if values is None:
            return None
        groups = tuple(self._groups_of.get(name, ()))
        return Host(name, groups, connection, values, self._travelling(name, hostvars))

    def _note(self, slug: str, message: str, fix: str, host: str) -> None:
        self._found.setdefault((slug, message, fix), []).append(host)

    def findings(self) -> list[Diagnostic]:
        """Returns one diagnostic per distinct finding, with the hosts that have it."""
        found = []
        for (slug, message, fix), names in self._found.items():
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            hosts = f"host{'s' if len(names) > 1 else ''} {', '.join(names[:_SHOWN])}{more}"
            found.append(finding(slug, f"{hosts}: {message}", None, fix=fix))
        return found

    def _travelling(self, name: str, hostvars: Mapping[str, object]) -> dict[str, object]:
        """Returns the variables that go into the bundle's inventory."""
        known = variables.schema()
        of_roles = variables.of_roles()
        found: dict[str, object] = {}
        for key in sorted(hostvars):
            value = hostvars[key]
            if key in variables.CONNECTION or (key in of_roles and key not in known):
                found[key] = self._carried(name, key, value)
            elif key.startswith("ansible_") and key not in variables.SECRET:
                self._note(
                    "variable-not-carried",
                    f"{key} is not carried into the bundle's inventory",
                    "where a host needs it, give this inventory to ansible-playbook as a second -i",
                    name,
                )
        self._check_templates(name, found)
        return found

    def _carried(self, name: str, key: str, value: object) -> object:
        if isinstance(value, str) and variables.INVENTORY_DIR.search(value):
            if self._directory is None:
                self._note(
                    "inventory-value-not-literal",
                    f"{key} = {value!r} uses inventory_dir, and the inventories lie in different directories",
                    "write the absolute path",
                    name,
                )
                return value
            directory = self._directory
            return variables.INVENTORY_DIR.sub(lambda _: directory, value)
        return value

    def _check_templates(self, name: str, carried: Mapping[str, object]) -> None:
        """Warns where a template needs a variable that stays behind."""
        for key, value in carried.items():
            if not isinstance(value, str) or not variables.TEMPLATE.search(value):
                continue
            missing = sorted(_undeclared(value) - _AT_RUN_TIME - carried.keys())
            if missing:
                self._note(
                    "template-needs-variable",
                    f"{key} = {value!r} needs {', '.join(missing)}, which the bundle's inventory lacks",
                    "write the value itself, or give this inventory to ansible-playbook as a second -i",
                    name,
                )


def _undeclared(template: str) -> set[str]:
    import jinja2
    import jinja2.meta

    try:
        return jinja2.meta.find_undeclared_variables(jinja2.Environment(autoescape=True).parse(template))
    except jinja2.TemplateError:  # Ansible has filters and tests of its own; it will say what is wrong
        return set()


def is_safe_name(name: str) -> bool:
    """Tells whether a host name can be a directory's name and a pattern of its own in Ansible."""
    return _NAME.fullmatch(name) is not None and len(name) <= 255
