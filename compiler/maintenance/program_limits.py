"""``kernel_limits.json`` of the benchmark program: the numbers of ``limits.toml``, by release."""

from __future__ import annotations

import json

from compiler.rules.kernels.limits import limit_values, releases


def table() -> str:
    """Returns the file; hosts have no reader of TOML."""
    values = {release.version: dict(limit_values(release.version)) for release in releases()}
    return json.dumps({"generated": "by `make docs` from limits.toml", "releases": values}, indent=1) + "\n"
