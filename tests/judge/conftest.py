"""The judge is host code: it is imported as the compiler imports it."""

from __future__ import annotations

from compiler.resources import host_code

host_code()
