"""A browser for the tests of the page: a page that logs, asks for something, or fails makes its test fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from compiler.resources import host_code
from tests.browser import find

host_code()

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = find()
    assert path, "no Chromium: run python -m tests.browser"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens a page of a report; at the end nothing may have been logged, requested or thrown."""
    contexts = []
    troubles: list[str] = []

    def opened(
        path: Path, *, scheme: str = "light", width: int = 1280, script: bool = True, fragment: str = ""
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        own = path.resolve().as_uri()
        page.on(
            "request", lambda r: None if r.url.startswith((own, "data:", "blob:")) else troubles.append(r.url)
        )
        page.goto(own + fragment)
        if script and page.query_selector("[data-plot]"):
            page.wait_for_selector("html[data-plots=ready]", state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []
