"""Measures how fast many runs are judged and rendered: ``python -m tests.benchmark.report``.

A benchmark, not a test: times depend on the machine. The trees are made up; their shape is that of real ones.
The aim is 10 s for 1,000 runs of 16 ranks, and a page below 5 MB that answers within 2 s.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from compiler.resources import host_code

host_code()


def main(argv: list[str]) -> int:
    """Prints a line per tree."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.report", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="runs of 16 ranks (default: %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="leave out the time until the page answers")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        _measure(Path(folder) / "many", args.runs, hosts=2, ranks_per_host=8, browser=not args.no_browser)
        _measure(Path(folder) / "large", 1, hosts=32, ranks_per_host=8, browser=not args.no_browser)
    return 0


def _measure(top: Path, number: int, hosts: int, ranks_per_host: int, *, browser: bool) -> None:
    from compiler.report.write import write_reports
    from tests.judge.tree import make_evidence, make_run, result_dir, write, write_tree

    names = tuple(f"node{host:03}" for host in range(hosts))
    runs = [make_run(f"Run.{n}/0", hosts=names, ranks_per_host=ranks_per_host) for n in range(number)]
    write_tree(top, runs, name="speed")
    for run in runs:
        write(top / run["id"] / result_dir(run) / "evidence.json", make_evidence(run))
    begun, used = time.perf_counter(), time.process_time()
    passed, _ = write_reports(top)
    took, used = time.perf_counter() - begun, time.process_time() - used
    page = top / "speed.html"
    answer = f", answers after {_answers(page):.2f} s" if browser else ""
    size = page.stat().st_size / 1e6
    what = f"{number} run{'' if number == 1 else 's'} of {hosts * ranks_per_host} ranks"
    print(f"{what}: {took:.2f} s ({used:.2f} s of CPU), page {size:.2f} MB{answer}", flush=True)
    assert passed


def _answers(page: Path) -> float:
    """Returns the seconds from opening a page until it filters: until a key press changed what it shows."""
    from playwright.sync_api import sync_playwright

    from tests.browser import find
    from tests.report.conftest import QUIET

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find(), args=list(QUIET))
        tab = chromium.new_page()
        begun = time.perf_counter()
        tab.goto(page.resolve().as_uri(), wait_until="commit")
        if tab.locator(".runs tbody").count() > 1:
            tab.fill("#filter", "run.7")
            tab.wait_for_function("document.getElementById('shown').textContent !== ''")
        took = time.perf_counter() - begun
        chromium.close()
    return took


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
