"""Writes all generated pages into ``docs/``."""

from __future__ import annotations

from compiler.maintenance.pages import PAGES
from compiler.resources import resource

for _name, _page in PAGES.items():
    (resource("docs") / _name).write_text(_page(), encoding="utf-8")
