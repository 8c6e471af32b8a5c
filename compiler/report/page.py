"""Renders the model into one HTML page that needs nothing but itself.

Every link leads into the tree by ``prefix``: ``./`` keeps a colon in a name from being a scheme.

The plotting library travels in the page, compressed. A content security policy forbids every connection and
every script but the two whose hashes it names, so that text that slipped through the escaping would not run.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from compiler import __version__
from compiler.compare import wording
from compiler.report import theme
from compiler.report.evidence import spanned
from compiler.report.host_judge import BESIDE, VERDICTS, bandwidth, duration, kind_of
from compiler.report.model import LINKS, Run, Session
from compiler.report.plots import (
    Plot,
    bandwidth_plot,
    expert_plot,
    link_plot,
    rank_plot,
    sweep_plots,
    traffic_plot,
    ways_plot,
)
from compiler.report.tree import MANY_RUNS

if TYPE_CHECKING:
    from compiler.compare.model import Comparison

_TEMPLATES = Path(__file__).with_name("templates")

WORDS = {
    "PASS": "Pass",
    "FAIL": "Fail",
    "TIMEOUT": "Timeout",
    "INVALID": "Invalid",
    "UNVERIFIED": "Unverified",
    "NOT_RUN": "Not run",
}

FIGURES_IN_TABLE = 16
"""Ranks up to which a matrix stands in the page as a table too, if the page has not too many runs."""

OPEN_RUNS = 6
"""Runs up to which the page shows all details at once."""

FIRST_RUNS = 200
"""Runs that the page lists at once; the rest when it is asked for, since a long table is slow."""

PACKED_FROM = 40
"""Runs from which on the details of those that passed travel compressed: the page unpacks what is opened."""


def render_page(session: Session, comparison: Comparison | None = None, prefix: str = "./") -> str:
    """Returns the page of a session as HTML.

    ``comparison`` is with another tree; ``prefix`` leads from the page to the tree, as a relative URL.
    """
    environment = _environment(prefix)
    overview = bandwidth_plot(session.runs)
    of_sweeps = {sweep.anchor: sweep_plots(sweep) for sweep in session.sweeps}
    packed_runs = session.runs if len(session.runs) >= PACKED_FROM else []
    packed_ids = {run.id for run in packed_runs if run.verdict in ("PASS", "NOT_RUN", "UNVERIFIED")}
    of_runs = {run.id: _run_plots(run) for run in session.runs}
    in_page = [
        *([overview] if overview else []),
        *(plot for found in of_sweeps.values() for plot in found),
        *(plot for run, found in of_runs.items() for plot in found if run not in packed_ids),
    ]
    details = environment.get_template("run.html.j2")
    few = len(session.runs) <= MANY_RUNS
    starts_of = {run: point for point in session.repeated for run in point.runs}
    common: dict[str, Any] = {
        "words": WORDS,
        "figures_in_table": FIGURES_IN_TABLE if few else 0,
        "starts_of": starts_of,
    }
    packed = {
        run.anchor: {
            "html": details.render(run=run, plots=of_runs[run.id], packed=True, **common),
            "files": [[prefix + quote(file.path), file.name, _size(file.size)] for file in run.files],
            "plots": {plot.id: plot.figure | {"link": plot.link} for plot in of_runs[run.id]},
        }
        for run in session.runs
        if run.id in packed_ids
    }
    keys = list(session.hosts[0].facts) if session.hosts else []
    known = [key for key in keys if any(host.facts[key] is not None for host in session.hosts)]
    unknown = [key for key in keys if key not in known]
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    any_plot = bool(in_page) or any(found["plots"] for found in packed.values())
    return environment.get_template("report.html.j2").render(
        session=session,
        comparison=comparison,
        wording=wording,
        verdicts=VERDICTS,
        overview=overview,
        links={key: LINKS[key] for key in session.tested_links},
        beside=BESIDE if session.has_baselines else {},
        sweeps_plots=of_sweeps,
        plots_of=of_runs,
        packed_ids=packed_ids,
        packed_details=_packed(packed) if packed else "",
        plot_data=_embedded_json(
            {"themes": _themes(), "plots": {plot.id: plot.figure | {"link": plot.link} for plot in in_page}}
        ),
        any_plot=any_plot,
        style=Markup(environment.get_template("page.css.j2").render(light=theme.LIGHT, dark=theme.DARK)),  # noqa: S704
        script=Markup(script),  # noqa: S704 - our own file
        library=_library()[0] if any_plot else "",
        script_hashes=[_hash(script), *([_library()[1]] if any_plot else [])],
        host_facts=known,
        unknown_facts=unknown,
        first_runs=FIRST_RUNS,
        details_open=len(session.runs) <= OPEN_RUNS,
        compiler_version=__version__,
        **common,
    )


def _run_plots(run: Run) -> list[Plot]:
    found = [
        plot for make in (ways_plot, rank_plot, link_plot, traffic_plot, expert_plot) if (plot := make(run))
    ]
    return found


def _packed(value: object) -> str:
    """Returns JSON, gzipped and in base64: nothing in it can end the element that holds it."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("ascii"), 6, mtime=0)).decode("ascii")


def _environment(prefix: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bandwidth": lambda value: bandwidth(value) if value is not None else "\N{EN DASH}",
        "duration": lambda value: duration(value, "µs") if value is not None else "\N{EN DASH}",
        "href": lambda path: prefix + quote(path),
        "figure": _figure,
        "spread": lambda share: f"{share:.2%}" if share < 0.1 else f"{share:.0%}",
        "interval": _interval,
        "spanned": spanned,
        "kinds": lambda marks: list(dict.fromkeys(map(kind_of, marks))),
        "percent": lambda share: f"{share:.1%}" if share < 1 else f"{share:.0%}",
        "signed": lambda share: f"{share:+.1%}",
        "size": _size,
        "time": _time,
        "name": lambda figure: _NAMES.get(figure, figure),
    }
    return environment


def _themes() -> dict[str, dict[str, str]]:
    return {"light": theme.LIGHT, "dark": theme.DARK}


def _embedded_json(value: object) -> Markup:
    """Returns JSON that may stand in a script element: nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped above


@cache
def _library() -> tuple[str, str]:
    """Returns plotly.js, gzipped and in base64, and the hash of its text for the security policy."""
    code = (resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    packed = base64.b64encode(gzip.compress(code, 9, mtime=0)).decode("ascii")
    return packed, _hash(code.decode("utf-8"))


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")


_NAMES = {
    "deepep_time": "time",
    "kernel_time": "kernel time",
    "global_bw": "global bandwidth",
    "simple_nvl_bw": "NVLink, as DeepEP's test counts",
    "simple_rdma_bw": "RDMA, as DeepEP's test counts",
    "wire_nvl_bw": "NVLink wire",
    "wire_rdma_bw": "network wire",
}


def _figure(value: float, figure: str) -> str:
    """Returns a figure of a record with its unit."""
    return duration(value, "µs") if figure.endswith("_time") else bandwidth(value)


def _interval(ends: tuple[float, float], figure: str) -> str:
    """Returns both ends of a figure's interval; a unit that they share stands once."""
    low, high = (_figure(end, figure) for end in ends)
    value, _, unit = low.rpartition(" ")
    return f"{value if high.endswith(' ' + unit) else low} to {high}"


def _size(size: int) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "B" else f"{size:.0f} B"
        size = size / 1000  # type: ignore[assignment]
    return f"{size:.3g} GB"


def _time(stamp: str) -> str:
    """Returns an ISO time without fractions, readable."""
    return stamp.replace("T", " ").split(".")[0].removesuffix("Z") + (" UTC" if stamp.endswith("Z") else "")
