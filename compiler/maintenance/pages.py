"""Which pages there are, and which function makes each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from compiler.maintenance import arguments, diagnostics, inventory

PAGES: Mapping[str, Callable[[], str]] = {
    "arguments.md": arguments.page,
    "diagnostics.md": diagnostics.page,
    "inventory.md": inventory.page,
}
"""File name below ``docs/`` and what writes it."""
