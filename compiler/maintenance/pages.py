"""Which generated files there are, and which function makes each."""

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
    program_limits,
    slurm,
)

PAGES: Mapping[str, Callable[[], str]] = {
    "docs/arguments.md": arguments.page,
    "docs/containers.md": containers.page,
    "docs/slurm-states.md": slurm.page,
    "docs/diagnostics.md": diagnostics.page,
    "docs/error-catalogue.md": error_catalogue.page,
    "docs/inventory.md": inventory.page,
    "docs/preflight.md": preflight.page,
    "docs/rules-kernels.md": kernel_rules.page,
    "roles/deepep_run/files/deepep_bench/kernel_limits.json": program_limits.table,
}
"""Path in the checkout and what writes it."""
