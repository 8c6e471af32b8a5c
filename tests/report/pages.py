"""Makes the pages and screenshots of docs/reports again, from real runs: ``python -m tests.report.pages``.

``passed`` is the seed page's scenario on this machine (what ``make run`` does). ``killed`` is a session of
three tests on three real hosts of the test bed (tests/cluster), which needs root: the second host loses power
while the second test is timed. ``screenshots`` only takes new pictures of both pages.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compiler.cli.exit_codes import NOT_PASSED
from compiler.report.write import write_reports
from tests.browser import find

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs" / "reports"
COMPILER = Path(sys.executable).with_name("deepep-compiler")
CHECKOUT = "/home/user/deepep-compiler"
"""Stands for this checkout in the pages."""
SCREEN = {"width": 1280, "height": 1600}


def passed(folder: Path) -> Path:
    """Runs the example on this machine and returns its result tree."""
    command: list[str | Path] = [COMPILER, "run", REPOSITORY / "examples/deepep-benchmark/scenario.toml"]
    command += ["--inventory", REPOSITORY / "inventory/local", "--results-dir", folder / "results"]
    subprocess.run(command, cwd=folder, check=True)
    return _only(folder / "results")


def killed(folder: Path) -> Path:
    """Runs three tests on three hosts, takes the power from one of them, and returns the result tree."""
    from tests.cluster.lab import Lab
    from tests.cluster.runs import Launched

    with Lab(3) as lab:
        run = Launched(
            lab, folder, lab.hosts, stand_in=None, iterations=6000, time_limit_s=240,
            timeouts_s=120, tests=3, name="power-loss",
        )  # fmt: skip
        victim = lab.hosts[1]
        second = {"run": "Tests.2/0"}
        run.wait_for(lambda event: _has(event, second | {"event": "rendezvous"}))
        run.wait_for(lambda event: _has(event, second | {"phase": "timing", "host": victim.name}))
        victim.power_off()
        code = run.finish()
    if code != NOT_PASSED:
        raise RuntimeError(f"the run was over before its host lost power: exit code {code}")
    return _only(folder / "results")


def _has(event: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    return all(event.get(key) == value for key, value in wanted.items())


def _only(results: Path) -> Path:
    (tree,) = results.iterdir()
    return tree


def published(tree: Path, folder: Path) -> Path:
    """Copies a tree without the directories of this machine, reports on the copy, and returns the page."""
    places = {
        str(folder): "/home/user",
        str((REPOSITORY / ".venv-torch").resolve()): f"{CHECKOUT}/.venv-torch",
    }
    places[str(REPOSITORY)] = CHECKOUT
    target = folder / "published" / tree.name
    shutil.copytree(tree, target, ignore=shutil.ignore_patterns(".state"))
    for path in target.rglob("*"):
        if path.is_file() and path.suffix != ".html":
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
            for here, there in places.items():
                text = text.replace(here, there)
            path.write_text(text, encoding="utf-8", errors="surrogateescape")
    write_reports(target)
    (page,) = target.glob("*.html")
    return page


def screenshots(name: str) -> None:
    """Takes a picture of a page in both colour schemes."""
    from playwright.sync_api import sync_playwright

    from tests.report.conftest import QUIET

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find(), args=list(QUIET))
        for scheme in ("light", "dark"):
            context = chromium.new_context(viewport=SCREEN, color_scheme=scheme)
            page = context.new_page()
            page.goto((DOCS / f"{name}.html").as_uri())
            page.wait_for_selector("html[data-plots=ready]", state="attached")
            page.screenshot(path=DOCS / f"{name}-{scheme}.png")
            context.close()
        chromium.close()


def main(argv: list[str]) -> int:
    """Writes what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.report.pages", description=__doc__)
    parser.add_argument("what", nargs="*", choices=["passed", "killed", "screenshots", []])
    for what in parser.parse_args(argv).what or ("passed", "killed"):
        if what == "screenshots":
            screenshots("passed")
            screenshots("killed")
            continue
        with tempfile.TemporaryDirectory() as folder:
            made = published({"passed": passed, "killed": killed}[what](Path(folder)), Path(folder))
            shutil.copy(made, DOCS / f"{what}.html")
            shutil.copy(made.with_name("summary.md"), DOCS / f"{what}.md")
        screenshots(what)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
