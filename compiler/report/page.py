"""Renders the model into one HTML page that needs nothing but itself.

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
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from compiler import __version__
from compiler.report import theme
from compiler.report.host_judge import VERDICTS, bandwidth, duration
from compiler.report.model import Session
from compiler.report.plots import bandwidth_plot, expert_plot, rank_plot, traffic_plot

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
"""Ranks up to which a matrix stands in the page as a table too."""

OPEN_RUNS = 6
"""Runs up to which the page shows all details at once."""


def render_page(session: Session) -> str:
    """Returns the page of a session as HTML."""
    overview = bandwidth_plot(session.runs)
    of_runs = {
        run.id: [plot for make in (rank_plot, traffic_plot, expert_plot) if (plot := make(run))]
        for run in session.runs
    }
    plots = [*([overview] if overview else []), *(plot for found in of_runs.values() for plot in found)]
    keys = list(session.hosts[0].facts) if session.hosts else []
    known = [key for key in keys if any(host.facts[key] is not None for host in session.hosts)]
    unknown = [key for key in keys if key not in known]
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    environment = _environment()
    return environment.get_template("report.html.j2").render(
        session=session,
        verdicts=VERDICTS,
        words=WORDS,
        overview=overview,
        links=any(r.simple_nvl_bw or r.simple_rdma_bw for run in session.runs for r in run.records),
        plots_of=of_runs,
        plot_data=_embedded_json({"themes": _themes(), "plots": {plot.id: plot.figure for plot in plots}}),
        any_plot=bool(plots),
        style=Markup(environment.get_template("page.css.j2").render(light=theme.LIGHT, dark=theme.DARK)),  # noqa: S704
        script=Markup(script),  # noqa: S704 - our own file
        library=_library()[0] if plots else "",
        script_hashes=[_hash(script), *([_library()[1]] if plots else [])],
        figures_in_table=FIGURES_IN_TABLE,
        host_facts=known,
        unknown_facts=unknown,
        details_open=len(session.runs) <= OPEN_RUNS,
        compiler_version=__version__,
    )


def _environment() -> Environment:
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
        "href": _href,
        "size": _size,
        "time": _time,
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


def _href(path: str) -> str:
    """Returns a relative link to a file of the tree; ``./`` keeps a colon in a name from being a scheme."""
    return "./" + quote(path)


def _size(size: int) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "B" else f"{size:.0f} B"
        size = size / 1000  # type: ignore[assignment]
    return f"{size:.3g} GB"


def _time(stamp: str) -> str:
    """Returns an ISO time without fractions, readable."""
    return stamp.replace("T", " ").split(".")[0].removesuffix("Z") + (" UTC" if stamp.endswith("Z") else "")
