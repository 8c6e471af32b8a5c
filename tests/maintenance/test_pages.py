from __future__ import annotations

import pytest

from compiler.maintenance.pages import PAGES
from tests.conftest import REPO


@pytest.mark.parametrize("name", list(PAGES))
def test_generated_page_is_up_to_date(name: str) -> None:
    written = (REPO / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), f"{name} is out of date: run `make docs`"
