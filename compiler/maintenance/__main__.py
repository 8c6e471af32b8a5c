"""Writes all generated files."""

from __future__ import annotations

from compiler.maintenance.pages import PAGES
from compiler.resources import resource

for _path, _page in PAGES.items():
    _top, _, _rest = _path.partition("/")
    (resource(_top) / _rest).write_text(_page(), encoding="utf-8")
