"""The page in a real browser: what it says, that it draws, that nothing in a result tree runs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from compiler.report import theme
from compiler.report.write import write_reports
from tests.judge.tree import change_json, make_plan, make_run, make_state, result_dir, write, write_tree
from tests.report.conftest import Open

HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)>{{ 7*7 }}\u2028<!--'


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a session with good, bad, slow and missing runs."""
    tmp_path = tmp_path_factory.mktemp("night")
    runs = [
        make_run("Good/0"),
        make_run("Wide/0", mode="low_latency", hosts=("node1", "node2", "node3"), ranks_per_host=8),
        make_run("Sweep/0/1", sweep={"cmd_args.tokens": 128}, backend="nccl"),
        make_run("Slow/0"),
        make_run("Bad/0"),
        make_run("Never/0", after=[{"type": "start_post_comp", "run": "Bad/0"}]),
    ]
    write_tree(tmp_path, runs, name="night")
    slow = make_state(runs[3], "node1", outcome="timeout", exit_code=None, phase="timing")
    write(tmp_path / "Slow/0/logs/node1.state.json", slow)
    write(tmp_path / "Slow/0/logs/node1.stderr.txt", "".join(f"last words {n}\n" for n in range(1, 31)))
    text = "fine\nTraceback (most recent call last):\n  File x\nValueError: \x1b[31mred\x1b[0m <i>no</i>\n"
    write(tmp_path / "Bad/0/logs/node2.stderr.txt", text)
    write(tmp_path / "Bad/0/logs/node2.state.json", make_state(runs[4], "node2", exit_code=1))
    shutil.rmtree(tmp_path / "Never/0")
    write_reports(tmp_path)
    return tmp_path / "night.html"


def test_verdict_at_a_glance(night: Path, open_page: Open) -> None:
    page = open_page(night)
    assert page.inner_text(".headline strong") == "3 of 6 runs passed"
    words = page.locator(".runs .badge").all_inner_texts()
    assert words == ["Pass", "Pass", "Pass", "Timeout", "Fail", "Not run"]
    notes = page.inner_text(".notes")
    assert "these are not DeepEP's figures" in notes
    assert "node1, node2, node3 are one physical machine" in notes
    assert "num_iterations 5 instead of 50" in notes
    table = page.inner_text(".runs")
    assert "10.00 GB/s" in table and "4.00 ms" in table
    assert "it needs Bad/0, which is FAIL" in table
    assert "cmd_args.tokens = 128" in table


def test_what_failed_and_why(night: Path, open_page: Open) -> None:
    page = open_page(night)
    bad = page.locator('[id="run-Bad/0-why"]')
    assert "ValueError: red <i>no</i>" in bad.inner_text()
    assert "What helps" in bad.inner_text()
    assert "Traceback" in bad.locator(".hit").inner_text()
    assert "\x1b" not in bad.inner_html()
    slow = page.locator('[id="run-Slow/0-why"]')
    assert "reached the time limit of 1800 s" in slow.inner_text()
    assert "last words 30" in slow.locator("pre").inner_text()


def test_no_figure_of_a_run_that_did_not_pass_counts(night: Path, open_page: Open) -> None:
    page = open_page(night)
    row = page.locator(".runs tbody", has_text="Bad/0").first
    assert "GB/s" not in row.inner_text()
    assert "these figures do not count" in page.locator('details[id="run-Bad/0"]').inner_text()
    drawn = page.locator("#plot-bandwidth").inner_text()
    assert "Good/0" in drawn and "Bad/0" not in drawn


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 420])
def test_every_plot_is_drawn_in_the_readers_scheme(
    night: Path, open_page: Open, scheme: str, width: int
) -> None:
    page = open_page(night, scheme=scheme, width=width)
    places = page.locator("[data-plot]")
    # One over all runs, and ranks, traffic and experts of each of the five that left results.
    assert places.count() == 16
    assert page.locator("[data-plot][data-state=drawn] svg.main-svg").count() >= 16
    colors = theme.DARK if scheme == "dark" else theme.LIGHT
    expect(page.locator("#plot-bandwidth .xtick text").first).to_have_css("fill", _rgb(colors["text"]))
    expect(page.locator("body")).to_have_css("background-color", _rgb(colors["page"]))
    assert page.eval_on_selector("html", "e => e.scrollWidth <= innerWidth")


def test_plots_follow_a_change_of_the_scheme(night: Path, open_page: Open) -> None:
    page = open_page(night)
    tick = page.locator("#plot-bandwidth .xtick text").first
    for scheme, colors in (("light", theme.LIGHT), ("dark", theme.DARK), ("light", theme.LIGHT)):
        page.emulate_media(color_scheme=scheme)
        expect(tick).to_have_css("fill", _rgb(colors["text"]))


def test_paper_is_light_and_open(night: Path, open_page: Open) -> None:
    page = open_page(night, scheme="dark")
    tick = page.locator("#plot-bandwidth .xtick text").first
    expect(tick).to_have_css("fill", _rgb(theme.DARK["text"]))
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("() => { dispatchEvent(new Event('beforeprint')) }")
    expect(tick).to_have_css("fill", _rgb(theme.LIGHT["text"]))
    expect(page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("() => { dispatchEvent(new Event('afterprint')) }")
    assert page.locator("details:not([open])").count() > 0


def test_everything_reads_without_scripts(night: Path, open_page: Open) -> None:
    page = open_page(night, script=False)
    text = page.inner_text("body")
    for piece in ("3 of 6 runs passed", "10.00 GB/s", "num_experts", "every figure stands in a table"):
        assert piece in text
    assert page.locator("[data-plot]").first.is_hidden()
    ranks = page.locator('details[id="run-Good/0"] table.matrix').first
    assert "node2" in ranks.inner_text() or ranks.locator("tbody tr").count() == 4


def test_every_file_of_the_tree_is_linked(night: Path, open_page: Open) -> None:
    page = open_page(night)
    links = page.eval_on_selector_all(
        "a[href^='./']", "all => all.map(a => decodeURI(a.getAttribute('href')))"
    )
    there = {f"./{path.relative_to(night.parent)}" for path in night.parent.rglob("*") if path.is_file()}
    # These come into being with the page.
    assert there - set(links) <= {"./manifest.json", "./night.html"}
    assert set(links) <= there


def test_a_deep_link_opens_its_run(tmp_path: Path, open_page: Open) -> None:
    write_tree(tmp_path, [make_run(f"Many.{number}/0") for number in range(9)])
    write_reports(tmp_path)
    page = open_page(tmp_path / "deepep-benchmark.html", fragment="#run-Many.7/0")
    assert page.locator("details.run[open]").count() == 1
    assert page.locator('details[id="run-Many.7/0"] [data-state=drawn]').count() == 3
    page.locator('details[id="run-Many.2/0"] > summary').press("Enter")
    page.wait_for_selector('details[id="run-Many.2/0"] [data-state=drawn] svg')


def test_keyboard_reaches_the_runs_first(night: Path, open_page: Open) -> None:
    page = open_page(night)
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Skip to the runs"
    assert page.locator(".plot:not([aria-label])").count() == 0
    assert page.locator("table thead th:not([scope])").count() == 0


def test_nothing_of_a_tree_runs(tmp_path: Path, open_page: Open) -> None:
    """Every text that a TOML, a host or a program may choose is shown as it is."""
    run = make_run("A/0", sweep={"extra_env_vars.X": HOSTILE}, description=HOSTILE)
    run |= {"test_name": HOSTILE, "why_hosts": HOSTILE, "image": HOSTILE, "argv": [HOSTILE]}
    run["env"] = {"X": HOSTILE, HOSTILE: "x"}
    bad = make_run("B/0", sweep={"cmd_args.tokens": HOSTILE})
    write_tree(tmp_path, [run, bad])
    plan = make_plan([run, bad])
    plan["scenario"]["description"] = HOSTILE
    plan["warnings"] = [HOSTILE]
    plan["compiler_version"] = HOSTILE
    for host in plan["hosts"].values():
        host["one_machine"] = HOSTILE
    write(tmp_path / "plan.json", plan)
    metadata = f"cpu = {json.dumps(HOSTILE)}\n{json.dumps(HOSTILE)} = 1\n"
    write(tmp_path / "A/0/metadata/node-node1.toml", metadata)
    write(tmp_path / "A/0/logs/node1.<img src=x onerror=alert(1)>.txt", "x")
    write(tmp_path / "B/0/logs/node1.stderr.txt", f"Traceback (most recent call last):\nError: {HOSTILE}\n")

    def spoil(records: list[dict[str, Any]]) -> None:
        records[0] |= {"notes": [HOSTILE], "versions": {HOSTILE: HOSTILE}, "timing": HOSTILE}
        records[0]["per_rank"][0]["host"] = HOSTILE
        records.append(records[0] | {"operation": HOSTILE})

    change_json(tmp_path / "A/0" / result_dir(run) / "results.json", spoil)
    write_reports(tmp_path)

    page = open_page(tmp_path / "deepep-benchmark.html")

    assert page.locator("main img, main script").count() == 0
    assert page.evaluate("() => document.scripts.length") == 4, (
        "data, library, the page's script, plotly's own"
    )
    assert HOSTILE.replace("\u2028", "") in page.inner_text("body").replace("\u2028", "")
    assert "49" not in page.locator("header p").last.inner_text()


def test_injected_scripts_would_not_run_even_so(night: Path, open_page: Open) -> None:
    page = open_page(night)
    policy = page.get_attribute("meta[http-equiv=Content-Security-Policy]", "content") or ""
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert not re.search(r"script-src[^;]*unsafe-inline", policy)


def test_what_is_unreadable_does_not_stop_the_page(tmp_path: Path, open_page: Open) -> None:
    runs = [make_run(f"R.{number}/0") for number in range(5)]
    write_tree(tmp_path, runs)
    for number, (name, content) in enumerate(
        [
            ("results.json", "[{"),
            (
                "results.json",
                '[{"per_rank": 7, "time_s": [], "bytes": "x", "notes": 1, "versions": [], "operation": 5}]',
            ),
            ("token_matrix_kb.txt", "a b\n1 2 3\n"),
            ("token_matrix.txt", "-1 99999\n"),
            ("token_matrix.txt", "\xff\xff"),
        ]
    ):
        write(tmp_path / f"R.{number}/0" / result_dir(runs[number]) / name, content)
    write(tmp_path / "R.0/0/metadata/node-node1.toml", "no toml")
    write_reports(tmp_path)
    page = open_page(tmp_path / "deepep-benchmark.html")
    assert page.locator("details.run").count() == 5


def test_an_empty_session(tmp_path: Path, open_page: Open) -> None:
    write_reports(write_tree(tmp_path, []))
    page = open_page(tmp_path / "deepep-benchmark.html")
    assert page.inner_text(".headline strong") == "Nothing ran"


def test_large_worlds_are_summed_by_host(tmp_path: Path, open_page: Open) -> None:
    write_tree(tmp_path, [make_run(hosts=tuple(f"h{n:02}" for n in range(16)), ranks_per_host=8)])
    write_reports(tmp_path)
    path = tmp_path / "deepep-benchmark.html"
    assert path.stat().st_size < 3_000_000
    page = open_page(path)
    assert "sums between hosts" in page.inner_text("main")
    assert "h15" in page.locator("[data-plot$=traffic]").inner_text()


def _rgb(color: str) -> str:
    return "rgb({}, {}, {})".format(*(int(color[i : i + 2], 16) for i in (1, 3, 5)))
