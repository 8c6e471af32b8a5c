"""``python -m compiler`` is ``deepep-compiler``."""

from compiler.cli.main import entry

entry()
