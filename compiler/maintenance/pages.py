"""Which pages there are, and which function makes each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from compiler.maintenance import (
    arguments,
    containers,
    diagnostics,
    error_catalogue,
    inventory,
    kernel_rules,
    preflight,
    slurm,
)

PAGES: Mapping[str, Callable[[], str]] = {
    "arguments.md": arguments.page,
    "containers.md": containers.page,
    "slurm-states.md": slurm.page,
    "diagnostics.md": diagnostics.page,
    "error-catalogue.md": error_catalogue.page,
    "inventory.md": inventory.page,
    "preflight.md": preflight.page,
    "rules-kernels.md": kernel_rules.page,
}
"""File name below ``docs/`` and what writes it."""
