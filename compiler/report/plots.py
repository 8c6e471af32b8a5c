"""The plots as Plotly figures, without colours: the page gives them those of the reader's scheme.

A trace names its colour by ``meta.series``. Shapes and patterns differ too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compiler.compare.spread import by_host
from compiler.report.host_judge import BESIDE, kind_of
from compiler.report.model import Record, Repeated, Run, Sweep
from compiler.report.spread import LINKS

_SYMBOLS = ("circle", "diamond", "square", "triangle-up")
_NCCL_SYMBOLS = ("x", "circle")
_PATTERNS = ("", "/", ".", "x")
_HOVER_LIMIT = 40
MOST_BARS = 24
"""Runs that the overview shows; the table has all."""

LARGEST_MATRIX = 64
"""Ranks up to which the page draws time per link."""

_MOST_CURVES = 36
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_NUMBERS_IN_CELLS = 8
"""Ranks up to which the cells of a matrix show their figures."""


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure: ``figure`` is Plotly's data and layout, ``summary`` says the same in one sentence."""

    id: str
    title: str
    summary: str
    figure: dict[str, Any]
    height: int
    max_width: int | None = None
    link: str | None = None
    """Plots of one name share their horizontal range: zooming one zooms all."""


def bandwidth_plot(runs: Sequence[Run]) -> Plot | None:
    """Returns the global bandwidth by operation and run; only runs whose figures count."""
    shown = [run for run in runs if run.counts and any(record.global_bw for record in run.heads)]
    operations = list(dict.fromkeys(record.name for run in shown for record in run.heads if record.global_bw))
    if not shown:
        return None
    left_out = len(shown) - MOST_BARS
    shown = shown[:MOST_BARS]
    labels = [_plain(run.label) for run in shown]
    traces = []
    for index, operation in enumerate(operations):
        values = [_bandwidth(run, operation) for run in shown]
        traces.append(
            {
                "type": "bar",
                "name": _plain(operation),
                "x": values,
                "y": labels,
                "orientation": "h",
                "meta": {"series": index},
                "customdata": [run.anchor for run in shown],
                "marker": {"pattern": {"shape": _PATTERNS[index % len(_PATTERNS)], "solidity": 0.25}},
                "text": [_label(run, operation) for run in shown],
                "textposition": "auto",
                "cliponaxis": False,
                "hovertemplate": "%{y}<br>%{x:.4g} GB/s<extra>" + _plain(operation) + "</extra>",
                "offsetgroup": operation,
            }
        )
    beside = _nccl_traces(shown, operations, labels)
    traces += beside
    layout = {
        "barmode": "group",
        "scattermode": "group",
        "scattergap": 0.35,
        "bargap": 0.35,
        "xaxis": {"title": {"text": "Global bandwidth, GB/s"}, "rangemode": "tozero"},
        "yaxis": {"autorange": "reversed", "automargin": True, "type": "category"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "margin": {"l": 8, "r": 28, "t": 34, "b": 48},
    }
    best = max((value, run.label) for run in shown for op in operations if (value := _bandwidth(run, op)))
    summary = f"Global bandwidth of {len(shown)} runs; the highest is {best[0]:.3g} GB/s in {best[1]}."
    if left_out > 0:
        summary += f" {left_out} more runs stand in the table."
    title = "Bandwidth by operation and run"
    if beside:
        title += "; marks: the same bytes in NCCL's time"
        summary += " Marks show the same bytes in the time that NCCL took, alone and with gather and scatter."
    height = 110 + max(64, 26 * len(operations) + 14) * len(shown)
    return Plot("bandwidth", title, summary, {"data": traces, "layout": layout}, height)


def _nccl_traces(
    runs: Sequence[Run], operations: Sequence[str], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Returns a mark on each bar for each of NCCL's times: the operation's bytes over that time.

    NCCL may send other bytes for the same tokens (scales, LogFMT): marks and bars are to each other as times.
    """
    traces: list[dict[str, Any]] = []
    for symbol, (variant, title) in zip(_NCCL_SYMBOLS, BESIDE.items(), strict=True):
        for operation in operations:
            values = [_beside(run, operation, variant) for run in runs]
            if any(values):
                traces.append(
                    {
                        "type": "scatter",
                        "mode": "markers",
                        "name": title,
                        "legendgroup": variant,
                        "showlegend": not any(trace["legendgroup"] == variant for trace in traces),
                        "x": values,
                        "y": labels,
                        "orientation": "h",
                        "offsetgroup": operation,
                        "meta": {"ink": "text"},
                        "customdata": [run.anchor for run in runs],
                        "marker": {"symbol": symbol, "size": 9},
                        "hovertemplate": f"%{{y}}<br>%{{x:.4g}} GB/s in the time of {title}"
                        f"<extra>{_plain(operation)}</extra>",
                    }
                )
    return traces


def _beside(run: Run, operation: str, variant: str) -> float | None:
    record = next((one for one in run.heads if one.name == operation), None)
    time = run.baseline(record.operation, variant) if record else None
    if record is None or not record.global_bw or not record.deepep_time or not time:
        return None
    return record.global_bw * record.deepep_time / time


def ways_plot(run: Run) -> Plot | None:
    """Returns the time of each operation beside its variants and baselines, where there are any."""
    shown = [record for record in run.records if record.deepep_time] if run.counts else []
    if all(record.primary for record in shown):
        return None
    order = list(dict.fromkeys(record.operation for record in shown))
    shown = sorted(shown, key=lambda record: order.index(record.operation))
    kinds = {
        "measured": [record for record in shown if record.primary],
        "variant": [record for record in shown if not record.primary and not record.baseline],
        "baseline, NCCL": [record for record in shown if record.baseline],
    }
    traces = []
    for index, (kind, found) in enumerate(kinds.items()):
        if found:
            times = [(record.deepep_time or 0.0) * 1e6 for record in found]
            traces.append(
                {
                    "type": "bar",
                    "name": kind,
                    "x": times,
                    "y": [_plain(record.name) for record in found],
                    "orientation": "h",
                    "meta": {"series": index},
                    "marker": {"pattern": {"shape": _PATTERNS[index], "solidity": 0.25}},
                    "text": [_short(time) for time in times],
                    "textposition": "auto",
                    "cliponaxis": False,
                    "hovertemplate": "%{y}<br>%{x:.4g} µs<extra>" + kind + "</extra>",
                }
            )
    layout = {
        "bargap": 0.25,
        "barmode": "overlay",
        "xaxis": {"title": {"text": "Time (median), µs"}, "rangemode": "tozero"},
        "yaxis": {
            "autorange": "reversed",
            "automargin": True,
            "type": "category",
            "categoryorder": "array",
            "categoryarray": [_plain(record.name) for record in shown],
        },
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "margin": {"l": 8, "r": 44, "t": 34, "b": 46},
    }
    fastest = min(shown, key=lambda record: record.deepep_time or math.inf)
    summary = (
        f"Time of {len(shown)} measurements: operations, their variants and baselines; the shortest is "
        f"{(fastest.deepep_time or 0.0) * 1e6:.4g} µs, {fastest.name}."
    )
    figure = {"data": traces, "layout": layout}
    return Plot(f"{run.anchor}-ways", "Variants and baselines", summary, figure, 110 + 30 * len(shown))


def rank_plot(run: Run) -> Plot | None:
    """Returns each rank's time: the median as a mark, from minimum to maximum as a bar."""
    records = [record for record in run.records if record.ranks and not record.baseline]
    if not records:
        return None
    traces = [_rank_trace(record, index, len(records)) for index, record in enumerate(records)]
    layout = {
        "xaxis": {"title": {"text": "Rank"}, "dtick": 1 if run.world_size <= 32 else None, "zeroline": False},
        "yaxis": {"title": {"text": "Time of an iteration, ms"}, "rangemode": "tozero"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "margin": {"l": 64, "r": 12, "t": 34, "b": 46},
    }
    slowest = max((time.median_s, time.rank, record.operation) for record in records for time in record.ranks)
    summary = (
        f"Median, minimum and maximum time of an iteration on each of {run.world_size} ranks; the slowest "
        f"median is {slowest[0] * 1e3:.3g} ms on rank {slowest[1]} in {slowest[2]}."
    )
    figure = {"data": traces, "layout": layout}
    return Plot(f"{run.anchor}-ranks", "Time per rank", summary, figure, 360, link=_rank_axis(run))


def link_plot(run: Run) -> Plot | None:
    """Returns what each link carried as a heat map, by ranks or, where they are many, by hosts."""
    links = run.links
    if links is None or len(links.hosts) < 2:
        return None
    times: Sequence[Sequence[float | None]] = links.time_s
    labels, what = [str(rank) for rank in range(len(links.hosts))], "rank"
    if len(labels) > LARGEST_MATRIX:
        times, labels = by_host(times, links.hosts)
        what = "host"
    rates = [[links.bytes / cell / 1e9 if cell else None for cell in row] for row in times]
    known = [rate for row in rates for rate in row if rate is not None]
    if not known:
        return None
    trace = _heat_map(rates, labels, "GB/s", what, len(labels))
    layout = _matrix_layout(what)
    layout["shapes"] = _host_borders(run) if what == "rank" else []
    if len(labels) <= _NUMBERS_IN_CELLS:
        layout["annotations"] = _cell_figures(rates, max(known))
    slow = [one for fact in run.spread if fact.operation == LINKS for one in fact.outliers]
    named = ", ".join(f"{one.text} {one.relative:+.0%} in time" for one in slow)
    summary = (
        f"{links.bytes / 1e6:.3g} MB from each {what} to each other one: {min(known):.3g} to "
        f"{max(known):.3g} GB/s; {'slow: ' + named if named else 'no link is slow'}."
    )
    link = _rank_axis(run) if what == "rank" else None
    figure = {"data": [trace], "layout": layout}
    return Plot(f"{run.anchor}-links", "Between ranks", summary, figure, 360, 520, link)


def _matrix_layout(what: str) -> dict[str, Any]:
    axis = {"type": "category", "showgrid": False, "ticks": ""}
    return {
        "xaxis": axis | {"title": {"text": f"to {what}"}},
        "yaxis": axis | {"title": {"text": f"from {what}"}, "autorange": "reversed"},
        "margin": {"l": 64, "r": 12, "t": 16, "b": 46},
    }


def sweep_plots(sweep: Sweep) -> list[Plot]:
    """Returns bandwidth and time over each swept key with several values; the other keys make the curves."""
    plots = []
    for number, key in enumerate(sweep.keys):
        values = list(dict.fromkeys(point.values[key] for point in sweep.points))
        if len(values) < 2:
            continue
        for what, unit, scale in (
            ("global_bw", "Global bandwidth, GB/s", 1.0),
            ("deepep_time", "Time, ms", 1e3),
        ):
            traces = _curves(sweep, key, what, scale)
            if not traces:
                continue
            numbers = [value for value in values if isinstance(value, int | float)]
            wide = len(numbers) == len(values) and min(numbers) > 0 and max(numbers) >= 8 * min(numbers)
            axis: dict[str, Any] = {
                "title": {"text": _plain(key)},
                "type": "log" if wide else "linear" if numbers else "category",
            }
            if wide:
                axis |= {"tickvals": sorted(numbers), "ticktext": [f"{v:g}" for v in sorted(numbers)]}
            layout = {
                "xaxis": axis,
                "yaxis": {"title": {"text": unit}, "rangemode": "tozero"},
                "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
                "margin": {"l": 64, "r": 16, "t": 40, "b": 48},
            }
            title = f"{'Bandwidth' if what == 'global_bw' else 'Time'} over {key.rsplit('.', 1)[-1]}"
            figure = {"data": traces, "layout": layout}
            summary = f"{title} for {len(traces)} curves; the figures stand in the table."
            link = f"{sweep.anchor}-{number}"
            plots.append(Plot(f"{sweep.anchor}-{number}-{what}", title, summary, figure, 340, link=link))
    return plots


def _curves(sweep: Sweep, key: str, what: str, scale: float) -> list[dict[str, Any]]:
    curves: dict[tuple[str, str], list[tuple[str | float, Repeated, str]]] = {}
    for point in sweep.points:
        rest = ", ".join(f"{k.rsplit('.', 1)[-1]}={v}" for k, v in point.values.items() if k != key)
        for one in point.figures:
            found = one.bandwidth if what == "global_bw" else one.time
            if found is not None:
                curves.setdefault((one.operation, rest), []).append((point.values[key], found, point.anchor))
    operations = list(dict.fromkeys(operation for operation, _ in curves))
    others = list(dict.fromkeys(other for _, other in curves))
    traces = []
    for (operation, other), points in list(curves.items())[:_MOST_CURVES]:
        points = sorted(points, key=lambda p: (isinstance(p[0], str), p[0]))
        name = _plain(operation + (f", {other}" if other else ""))
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": [_plain(x) if isinstance(x, str) else x for x, _, _ in points],
                "y": [found.median * scale for _, found, _ in points],
                **_error_bars([found for _, found, _ in points], scale),
                "customdata": [anchor for _, _, anchor in points],
                "meta": {"series": operations.index(operation)},
                "line": {"dash": _DASHES[others.index(other) % len(_DASHES)], "width": 2},
                "marker": {"symbol": _SYMBOLS[others.index(other) % len(_SYMBOLS)], "size": 8},
                "hovertemplate": f"{_plain(key)} %{{x}}<br>%{{y:.4g}}<extra>{name}</extra>",
            }
        )
    return traces


def _error_bars(found: Sequence[Repeated], scale: float) -> dict[str, Any]:
    """Returns the intervals over independent starts, from the medians on; nothing where there is none."""
    if not any(one.interval for one in found):
        return {}
    ends = [one.interval or (one.median, one.median) for one in found]
    return {
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [
                max(high - one.median, 0.0) * scale for one, (_, high) in zip(found, ends, strict=True)
            ],
            "arrayminus": [
                max(one.median - low, 0.0) * scale for one, (low, _) in zip(found, ends, strict=True)
            ],
            "thickness": 1.5,
            "width": 4,
        }
    }


def _rank_axis(run: Run) -> str | None:
    """Ranks count from 0 on both the plot of times and the token matrix, unless that is of hosts."""
    return f"{run.anchor}-rank-axis" if run.matrix is not None and not run.matrix.of_hosts else None


def _heat_map(
    values: Sequence[Sequence[float | None]], labels: Sequence[str], unit: str, what: str, size: int
) -> dict[str, Any]:
    largest = max((cell for row in values for cell in row if cell is not None), default=0.0)
    return {
        "type": "heatmap",
        "z": [list(row) for row in values],
        "x": [_plain(label) for label in labels],
        "y": [_plain(label) for label in labels],
        "colorscale": "Cividis",
        "zmin": 0,
        "zmax": largest or 1,
        "colorbar": {"title": {"text": unit, "side": "top"}, "thickness": 12, "outlinewidth": 0},
        "hovertemplate": f"{what} %{{y}} to {what} %{{x}}<br>%{{z:.4g}} {unit}<extra></extra>",
        "xgap": 1 if size <= 32 else 0,
        "ygap": 1 if size <= 32 else 0,
    }


def traffic_plot(run: Run) -> Plot | None:
    """Returns the token matrix as a heat map: rows send, columns receive."""
    matrix = run.matrix
    if matrix is None:
        return None
    size = len(matrix.labels)
    what = "host" if matrix.of_hosts else "rank"
    largest = max(max(row) for row in matrix.values)
    trace = _heat_map(matrix.values, matrix.labels, matrix.unit, what, size)
    layout = _matrix_layout(what)
    layout["shapes"] = [] if matrix.of_hosts else _host_borders(run)
    if size <= _NUMBERS_IN_CELLS:
        layout["annotations"] = _cell_figures(matrix.values, largest)
    summary = (
        f"Data sent in one dispatch between {size} {what}s; the largest cell is {largest:.4g} {matrix.unit}."
    )
    figure = {"data": [trace], "layout": layout}
    return Plot(f"{run.anchor}-traffic", "Token matrix", summary, figure, 360, 520, _rank_axis(run))


def expert_plot(run: Run) -> Plot | None:
    """Returns how many selections each expert got, against the mean."""
    loads = run.expert_load
    if not loads:
        return None
    mean = sum(loads) / len(loads)
    bars = {
        "type": "bar",
        "x": list(range(len(loads))),
        "y": list(loads),
        "meta": {"series": 2},
        "hovertemplate": "expert %{x}<br>%{y} selections<extra></extra>",
        "showlegend": False,
    }
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": mean, "y1": mean}
    note = {"xref": "paper", "x": 1, "yref": "paper", "y": 1, "text": f"dashed: mean {mean:.4g}"}
    layout = {
        "bargap": 0.15,
        "xaxis": {"title": {"text": "Expert"}, "zeroline": False, "range": [-0.5, len(loads) - 0.5]},
        "yaxis": {"title": {"text": "Selections"}, "rangemode": "tozero"},
        "shapes": [line | {"line": {"dash": "dash", "width": 1}}],
        "annotations": [note | {"showarrow": False, "xanchor": "right", "yanchor": "bottom"}],
        "margin": {"l": 64, "r": 12, "t": 26, "b": 46},
    }
    summary = (
        f"Selections of {len(loads)} experts: from {min(loads)} to {max(loads)}, {mean:.4g} in the mean."
    )
    figure = {"data": [bars], "layout": layout}
    return Plot(f"{run.anchor}-experts", "Load of the experts", summary, figure, 260)


def _bandwidth(run: Run, operation: str) -> float | None:
    return next((record.global_bw for record in run.records if record.name == operation), None)


def _label(run: Run, operation: str) -> str | None:
    """Returns what stands at a bar; a figure with marks says so."""
    record = next((one for one in run.records if one.name == operation), None)
    if record is None or record.global_bw is None:
        return None
    kinds = dict.fromkeys(map(kind_of, record.marks))
    return _short(record.global_bw) + (f" ({', '.join(kinds)})" if kinds else "")


def _rank_trace(record: Record, index: int, count: int) -> dict[str, Any]:
    shift = (index - (count - 1) / 2) * 0.22
    times = record.ranks
    return {
        "type": "scatter",
        "mode": "markers",
        "name": _plain(record.name),
        "x": [time.rank + shift for time in times],
        "y": [time.median_s * 1e3 for time in times],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [(time.max_s - time.median_s) * 1e3 for time in times],
            "arrayminus": [(time.median_s - time.min_s) * 1e3 for time in times],
            "thickness": 1.5,
            "width": 4,
        },
        "meta": {"series": index},
        "marker": {"symbol": _SYMBOLS[index % len(_SYMBOLS)], "size": 9},
        "text": [f"rank {time.rank} on {_plain(time.host)}" for time in times],
        "hovertemplate": "%{text}<br>%{y:.4g} ms<extra>" + _plain(record.operation) + "</extra>",
    }


def _host_borders(run: Run) -> list[dict[str, Any]]:
    """Returns lines between the ranks of different hosts, for a matrix of all ranks."""
    size = run.world_size
    lines = []
    for host in range(1, len(run.hosts)):
        at = host * run.ranks_per_host - 0.5
        across = {"x0": at, "x1": at, "y0": -0.5, "y1": size - 0.5}
        down = {"x0": -0.5, "x1": size - 0.5, "y0": at, "y1": at}
        lines += [{"type": "line", "line": {"width": 2}, **ends} for ends in (across, down)]
    return lines


def _cell_figures(values: Sequence[Sequence[float | None]], largest: float) -> list[dict[str, Any]]:
    """Returns the figure of each cell, black on the bright half of the scale and white on the dark one."""
    return [
        {
            "x": column,
            "y": row,
            "text": _short(value),
            "showarrow": False,
            "font": {"color": "#000" if value > 0.5 * largest else "#fff"},
        }
        for row, cells in enumerate(values)
        for column, value in enumerate(cells)
        if value is not None
    ]


def _short(value: float) -> str:
    """Returns a figure with three digits and never an exponent."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _plain(label: str) -> str:
    """Returns text that Plotly shows as it is: it would read tags and entities in it."""
    short = label if len(label) <= _HOVER_LIMIT else label[: _HOVER_LIMIT - 1] + "…"
    return short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
