"""What a reader does with the page: find, filter, sort, copy, go by keyboard and link, not see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from compiler.report.write import write_reports
from tests.judge.tree import make_run, make_state, write, write_tree
from tests.report.conftest import Open


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 50 runs: most details travel compressed."""
    top = tmp_path_factory.mktemp("many")
    runs = [make_run(f"Run.{n}/0", hosts=("node1", f"other{n}")) for n in range(50)]
    write_tree(top, runs, name="many")
    for number in (7, 9):
        write(top / f"Run.{number}/0/logs/node1.state.json", make_state(runs[number], "node1", exit_code=1))
    # Not in the first lines: axe passes over numbers of one digit.
    write(
        top / "Run.7/0/logs/node1.stderr.txt", "fine\n" * 12 + "torch.OutOfMemoryError: CUDA out of memory\n"
    )
    write_reports(top)
    return top / "many.html"


def _shown(page: Any) -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        "#runs-table tbody:not([hidden]) th a", "all => all.map(a => a.textContent)"
    )
    return found


def test_find_and_filter(many: Path, open_page: Open) -> None:
    page = open_page(many)
    assert len(_shown(page)) == 50
    page.fill("#filter", "out of memory")
    assert _shown(page) == ["Run.7/0"]
    assert page.inner_text("#shown") == "1 of 50 runs"
    page.fill("#filter", "")
    page.click(".chip[data-verdict=FAIL]")
    assert _shown(page) == ["Run.7/0", "Run.9/0"]
    assert page.locator("details.run:not([hidden])").count() == 2
    # The link can be passed on.
    assert "verdict=FAIL" in page.url


def test_a_filter_is_a_link(many: Path, open_page: Open) -> None:
    page = open_page(many, fragment="#?find=other9&verdict=FAIL")
    assert _shown(page) == ["Run.9/0"]


def test_sort(many: Path, open_page: Open) -> None:
    page = open_page(many)
    head = page.locator("#runs-table th", has_text="Verdict").first
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert _shown(page)[:2] == ["Run.7/0", "Run.9/0"]
    page.locator("#runs-table th", has_text="Run").first.locator("button").click()
    assert _shown(page)[:3] == ["Run.0/0", "Run.1/0", "Run.2/0"], "numbers are numbers"
    page.locator("#runs-table th", has_text="Run").first.locator("button").click()
    assert _shown(page)[0] == "Run.49/0"


def test_tables_copy_as_tsv(many: Path, open_page: Open) -> None:
    page = open_page(many, fragment="#?find=run.3/0")
    page.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }")
    page.locator("#runs .tools .copy").click()
    rows = [line.split("\t") for line in page.evaluate("() => window.copied").splitlines()]
    assert len(rows) == 3 and len({len(row) for row in rows}) == 1
    assert rows[0][:3] == ["Run", "Verdict", "Operation"]
    assert [row[1:3] for row in rows[1:]] == [["Pass", "dispatch"], ["Pass", "combine"]]
    assert rows[1][3] == "10.00 GB/s"
    assert rows[1][5:] == ["gloo stand-in", "node1, other3 2 \N{MULTIPLICATION SIGN} 2 ranks"]


def test_keys(many: Path, open_page: Open) -> None:
    page = open_page(many)
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate("() => document.activeElement.textContent") == "Run.1/0"
    page.keyboard.press("/")
    assert page.evaluate("() => document.activeElement.id") == "filter"
    page.keyboard.type("run.9/")
    assert _shown(page) == ["Run.9/0"]
    page.keyboard.press("Escape")
    assert len(_shown(page)) == 50
    page.click(".chip[data-verdict=FAIL]")
    page.keyboard.press("Escape")
    assert (
        len(_shown(page)) == 50 and page.get_attribute(".chip[data-verdict=FAIL]", "aria-pressed") == "false"
    )
    assert "#" not in page.url


def test_packed_details_come_when_opened(many: Path, open_page: Open) -> None:
    page = open_page(many, fragment="#run-Run.3/0")
    box = page.locator('details[id="run-Run.3/0"]')
    box.locator("[data-plot][data-state=drawn]").first.wait_for()
    text = box.inner_text()
    assert "num_experts" in text and "verdict.json" in text
    links = box.locator("[data-files] a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert links and all((many.parent / link[2:]).is_file() for link in links)
    assert page.locator('details[id="run-Run.7/0"]').get_attribute("data-packed") is None, (
        "what failed is there"
    )


def test_a_click_on_a_bar_leads_to_the_run(tmp_path: Path, open_page: Open) -> None:
    write_tree(tmp_path, [make_run(f"Many.{number}/0") for number in range(9)])
    write_reports(tmp_path)
    page = open_page(tmp_path / "deepep-benchmark.html")
    event = "{points: [{customdata: 'run-Many.4/0'}]}"
    page.evaluate(f"() => document.getElementById('plot-bandwidth').emit('plotly_click', {event})")
    page.wait_for_selector('details[id="run-Many.4/0"][open]')


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 420])
def test_axe_finds_nothing(many: Path, open_page: Open, scheme: str, width: int) -> None:
    page = open_page(many, scheme=scheme, width=width, fragment="#run-Run.3/0")
    page.locator('details[id="run-Run.3/0"] [data-state=drawn]').first.wait_for()
    found = Axe().run(page)
    problems = [
        (v["id"], v["help"], [node["html"][:200] for node in v["nodes"][:3]])
        for v in found.response["violations"]
    ]
    assert problems == [], json.dumps(problems, indent=1)


def test_a_long_table_lists_the_rest_when_asked(tmp_path: Path, open_page: Open) -> None:
    write_tree(tmp_path, [make_run(f"Run.{n}/0", hosts=("node1",), ranks_per_host=1) for n in range(210)])
    write_reports(tmp_path)
    page = open_page(tmp_path / "deepep-benchmark.html")
    rows = page.locator("#runs-table tbody >> visible=true")
    assert rows.count() == 200
    page.fill("#filter", "run.209")
    assert rows.count() == 1
    page.fill("#filter", "")
    page.click("#all")
    assert rows.count() == 210


def test_a_link_to_a_run_further_down(tmp_path: Path, open_page: Open) -> None:
    write_tree(tmp_path, [make_run(f"Run.{n}/0", hosts=("node1",), ranks_per_host=1) for n in range(203)])
    write_reports(tmp_path)
    page = open_page(tmp_path / "deepep-benchmark.html", fragment="#run-Run.202/0")
    assert page.locator('details[id="run-Run.202/0"]').is_visible()


def test_what_deepeps_test_prints_stands_in_the_overview(tmp_path: Path, open_page: Open) -> None:
    """Also where that test has the call of a variant: V1's repeats a dispatch by its cached handle."""
    run = make_run("Run.1/0")
    write_tree(tmp_path, [run], name="one")
    [path] = (tmp_path / "Run.1/0").glob("results/*/results.json")
    dispatch, combine = json.loads(path.read_text())
    dispatch |= {"variant": "counts", "simple_nvl_bw": None}
    cached = dispatch | {"variant": "cached", "primary": False, "simple_nvl_bw": 250.0}
    write(path, [dispatch, cached, combine | {"simple_nvl_bw": 350.0}])
    write_reports(tmp_path)
    page = open_page(tmp_path / "one.html")
    shown = page.locator("#runs-table td[data-label=NVLink]").all_inner_texts()
    assert [float(text.split()[0]) for text in shown] == [250.0, 350.0]
