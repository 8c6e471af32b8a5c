"""Exit codes of ``deepep-compiler``, in one place."""

from __future__ import annotations

OK = 0
INPUT_ERROR = 1
"""The input (TOML, inventory, result tree) has errors."""
USAGE = 2
"""The command line is wrong (argparse's own code)."""
NOT_PASSED = 3
"""A test did not pass."""
REGRESSION = 4
"""``compare`` found a regression."""
INTERRUPTED = 130
"""Ctrl-C, or SIGTERM."""
