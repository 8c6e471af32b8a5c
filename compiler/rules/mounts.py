"""Container mounts: what lies where, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic
from compiler.diagnostics.wording import value_text
from compiler.rules.model import TestTable
from compiler.scenario.raw import table_or_empty


def distinct(table: TestTable) -> Iterator[Diagnostic]:
    """No two mounts have one target, and none covers what the run itself mounts."""
    value = table.data.get("extra_container_mounts")
    if not isinstance(value, list):
        return
    arguments = table_or_empty(table.data.get("cmd_args"))
    taken = {
        path: f"{key} of this test"
        for key in ("config_file_path", "results_dir")
        if isinstance(path := arguments.get(key), str)
    }
    for number, mount in enumerate(value):
        parts = mount.split(":") if isinstance(mount, str) else []
        if len(parts) < 2:
            continue
        target = parts[1].rstrip("/") or "/"
        if target in taken:
            text = f"{value_text(mount)} is mounted at {target}, which is also {taken[target]}"
            yield finding("mount-clash", text, table.place("extra_container_mounts", number))
        taken.setdefault(target, f"the target of {value_text(mount)}")
