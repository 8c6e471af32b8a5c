"""Environment values: literal text that reaches every rank."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic, Place
from compiler.diagnostics.wording import value_text
from compiler.rules.model import TestTable
from compiler.scenario.raw import table_or_empty

LAUNCHER_SETS = frozenset(
    {
        "RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE",
        "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "DEEPEP_RUN_ID", "DEEPEP_HOST", "DEEPEP_STAMP",
        "DEEPEP_IMAGE_DIGEST",
    }
)  # fmt: skip
"""Set by torchrun and the supervisor for each rank, whatever was there before."""

LONGEST_BYTES = 128 * 1024
"""Linux' MAX_ARG_STRLEN: one ``NAME=value`` with its final NUL."""


def shell_code(table: TestTable) -> Iterator[Diagnostic]:
    """Values that look as if a shell should run them get a warning; they stay text."""
    for name, value, place in _values(table):
        mark = "$(" if "$(" in value else "`" if "`" in value else None
        if mark:
            text = f"{name} = {value_text(value)} holds {mark!r}: it is passed on as text and never run"
            yield finding("shell-in-env", text, place)


def set_by_the_launcher(table: TestTable) -> Iterator[Diagnostic]:
    """Variables that the launcher sets itself."""
    for name in table_or_empty(table.data.get("extra_env_vars")):
        if name in LAUNCHER_SETS or name.startswith("TORCHELASTIC_"):
            text = f"{name} is set by the launcher; this value has no effect"
            yield finding("env-overridden", text, table.place("extra_env_vars", name, on_key=True))


def too_long(table: TestTable) -> Iterator[Diagnostic]:
    """Values that no process can be given."""
    for name, value, place in _values(table):
        if len(value) * 4 < LONGEST_BYTES:
            continue
        size = len(f"{name}={value}".encode()) + 1
        if size > LONGEST_BYTES:
            yield finding(
                "env-too-long", f"{name} takes {size:,} bytes; {LONGEST_BYTES:,} are possible", place
            )


def blank_ends(table: TestTable) -> Iterator[Diagnostic]:
    """Values with blanks or line ends around them."""
    for name, value, place in _values(table):
        if value != value.strip():
            text = f"{name} = {value_text(value)} begins or ends with blanks"
            yield finding("env-blanks", text, place, fix=f"write {name} = {value_text(value.strip())}")


def _values(table: TestTable) -> Iterator[tuple[str, str, Place]]:
    for name, value in table_or_empty(table.data.get("extra_env_vars")).items():
        if isinstance(value, str):
            yield name, value, table.place("extra_env_vars", name)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                if isinstance(item, str):
                    yield name, item, table.place("extra_env_vars", name, number)
