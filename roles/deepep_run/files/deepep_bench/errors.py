"""Failures with an exit code of their own."""

from __future__ import annotations


class RefusedError(Exception):
    """The configuration cannot run here. Nothing was started."""


class WrongDataError(Exception):
    """An element, a weight or a count differs from the reference."""
