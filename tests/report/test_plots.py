"""The plots, without a browser: valid for the library, and with the figures of the records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from compiler.report import theme
from compiler.report.host_judge import judge_session, read_plan
from compiler.report.model import Session
from compiler.report.plots import bandwidth_plot, expert_plot, rank_plot, traffic_plot
from compiler.report.tree import read_session
from tests.judge.tree import change_json, make_run, result_dir, write, write_tree


def _session(top: Path) -> Session:
    return read_session(top, read_plan(top), judge_session(top))


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return _session(write_tree(tmp_path, [make_run("A/0"), make_run("B/0", mode="low_latency")]))


def test_the_library_accepts_every_plot(session: Session) -> None:
    run = session.runs[0]
    for plot in (bandwidth_plot(session.runs), rank_plot(run), traffic_plot(run), expert_plot(run)):
        assert plot is not None
        go.Figure(plot.figure)
        assert plot.summary.endswith(".")


def test_bandwidth_shows_each_record(session: Session) -> None:
    plot = bandwidth_plot(session.runs)
    assert plot is not None
    shown = {trace["name"]: dict(zip(trace["y"], trace["x"], strict=True)) for trace in plot.figure["data"]}
    assert shown["dispatch"] == {"A/0": pytest.approx(10.0), "B/0": pytest.approx(10.0)}
    assert shown["combine"]["B/0"] == pytest.approx(40e6 / 0.006 / 1e9)


def test_nccl_is_marked_on_the_bars_of_what_it_stands_beside(tmp_path: Path) -> None:
    run = make_run()
    write_tree(tmp_path, [run])

    def add(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        nccl: dict[str, Any] = {"primary": False, "baseline": True, "global_bw": 20.0}
        nccl["bytes"] = records[0]["bytes"] | {"global": 2 * records[0]["bytes"]["global"]}
        return [*records, *(records[0] | nccl | {"variant": one} for one in ("alltoall", "gather_scatter"))]

    change_json(tmp_path / run["id"] / result_dir(run) / "results.json", add)
    plot = bandwidth_plot(_session(tmp_path).runs)
    assert plot is not None
    go.Figure(plot.figure)
    marks = [trace for trace in plot.figure["data"] if trace["type"] == "scatter"]
    assert [(mark["name"], mark["offsetgroup"]) for mark in marks] == [
        ("NCCL alone", "dispatch"), ("NCCL, gather", "dispatch"),
    ]  # fmt: skip
    # In the same time the same bytes are the same bandwidth, although NCCL itself sent twice of them.
    assert [mark["x"] for mark in marks] == [[pytest.approx(10.0)]] * 2
    assert len({mark["marker"]["symbol"] for mark in marks}) == 2


def test_ranks_show_median_and_range_in_ms(session: Session) -> None:
    plot = rank_plot(session.runs[0])
    assert plot is not None
    dispatch = plot.figure["data"][0]
    assert dispatch["y"] == pytest.approx([4.0, 3.92, 3.84, 4.0])
    assert [
        y + up for y, up in zip(dispatch["y"], dispatch["error_y"]["array"], strict=True)
    ] == pytest.approx([4.8, 4.704, 4.608, 4.8])


def test_series_differ_by_more_than_colour(session: Session) -> None:
    bars, marks = bandwidth_plot(session.runs), rank_plot(session.runs[0])
    assert bars is not None and marks is not None
    assert len({trace["marker"]["pattern"]["shape"] for trace in bars.figure["data"]}) == 2
    assert len({trace["marker"]["symbol"] for trace in marks.figure["data"]}) == 2


def test_the_matrix_takes_a_unit_that_fits(tmp_path: Path) -> None:
    run = make_run(hosts=("h1",))
    write_tree(tmp_path, [run])
    write(tmp_path / run["id"] / result_dir(run) / "token_matrix_kb.txt", "# comment\n1500 13000\n0 500\n")
    matrix = _session(tmp_path).runs[0].matrix
    assert matrix is not None
    assert (matrix.unit, matrix.values) == ("MB", [[1.5, 13.0], [0.0, 0.5]])


def test_expert_load_counts_selections(tmp_path: Path) -> None:
    run = make_run(hosts=("h1",))
    write_tree(tmp_path, [run])
    write(tmp_path / run["id"] / result_dir(run) / "token_matrix.txt", "# comment\n0 7\n7 1\n")
    assert _session(tmp_path).runs[0].expert_load == [1, 1, 0, 0, 0, 0, 0, 2]


def test_words_for_the_library_are_no_markup(tmp_path: Path) -> None:
    write_tree(tmp_path, [make_run(sweep={"extra_env_vars.X": "<b>&</b>"})])
    plot = bandwidth_plot(_session(tmp_path).runs)
    assert plot is not None
    assert plot.figure["data"][0]["y"] == ["Tests.1/0, X=&lt;b&gt;&amp;&lt;/b&gt;"]


def _luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colors", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_text_contrasts_with_its_background(colors: dict[str, str]) -> None:
    pairs = [(ink, back) for ink in ("text", "muted", "link") for back in ("page", "card", "soft")]
    for verdict in ("pass", "fail", "timeout", "invalid", "unverified", "not_run"):
        pairs += [(verdict, f"{verdict}_soft"), (verdict, "card"), ("text", f"{verdict}_soft")]
    pairs.append(("text", "mark"))
    assert {pair for pair in pairs if _contrast(colors[pair[0]], colors[pair[1]]) < 4.5} == set()
    assert theme.LIGHT.keys() == theme.DARK.keys()
