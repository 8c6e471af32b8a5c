"""The summary as a table for the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .codes import COMPLETED, VERDICTS, printable
from .figures import BESIDE, baseline_time, is_primary
from .units import bandwidth, duration

_GAP = "  "
_OWN = 6
"""Columns of a record's own; those after them are of what stands beside it."""


def render_table(summary: Mapping[str, Any], width: int | None = None) -> str:
    """Returns the summary as plain text, at most ``width`` columns wide (default: the terminal's).

    One line per run and operation with verdict, backend and figures, beside them the times of NCCL (on a line
    of their own where they do not fit); below a run that is not PASS stands its cause, below any run what
    there is to know of it. Then what independent starts of one entry gave
    together, if the report has worked it out. Says so where figures are a stand-in's.
    """
    columns = max(width or shutil.get_terminal_size((100, 24)).columns, 40)
    lines: list[str] = []
    for line, hang in _body(summary, columns):
        lines += (
            textwrap.wrap(line, columns, subsequent_indent=" " * hang, break_on_hyphens=False)
            if hang
            else [line]
        )
    together = list(_starts(summary))
    lines += [""] * bool(together)
    for line in together:
        lines += textwrap.wrap(line, columns, subsequent_indent="    ", break_on_hyphens=False)
    notes = [
        note for text in _notes(summary) for note in textwrap.wrap(text, columns, subsequent_indent="  ")
    ]
    return "\n".join([*(line.rstrip() for line in lines), "", *notes]) + "\n"


def _body(summary: Mapping[str, Any], columns: int) -> list[tuple[str, int]]:
    """Returns lines with the indent of their continuation; 0 for lines of the table itself."""
    header = ["run", "verdict", "backend", "operation", "global BW", "median", *BESIDE.values()]
    groups = [(run, _rows(run)) for run in summary["runs"]]
    rows = [header, *(row for _, rows in groups for row in rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    beside = any(row[_OWN:] != [""] * len(BESIDE) for row in rows[1:])
    fits = sum(widths) + len(_GAP) * (len(widths) - 1) <= columns
    widths = widths if beside and fits else widths[:_OWN]
    out = [(_line(header, widths), 0), (_line(["-" * width for width in widths], widths), 0)]
    for run, rows_of_run in groups:
        for row in rows_of_run:
            out.append((_line(row, widths), 0))
            if any(row[len(widths) :]):
                told = (f"{name} {time}" for name, time in zip(BESIDE.values(), row[_OWN:]) if time)
                out.append((f"    {row[3]} beside: {'; '.join(told)}", 6))
        if run["reasons"]:
            cause = run["reasons"][0]
            place = f" [{run['run']}/{cause['file']}{':' + str(cause['line']) if cause['line'] else ''}]"
            out.append((f"    {cause['text']}{place if cause['file'] else ''}", 6))
            if cause["remedy"]:
                out.append((f"    what helps: {cause['remedy']}", 6))
            suspect = run.get("suspect")
            if suspect and suspect["text"] not in cause["text"]:
                out.append((f"    suspect: {suspect['text']}", 6))
            more = len(run["reasons"]) - 1
            if more:
                out.append((f"    and {more} more, see the report", 6))
        out += [(f"    note: {note}", 6) for note in run["notes"]]
    return out


def _rows(run: Mapping[str, Any]) -> list[list[str]]:
    label = str(run["run"])
    if run["sweep"]:
        label += " " + ", ".join(
            f"{key.split('.')[-1]}={printable(str(v), 24)}" for key, v in run["sweep"].items()
        )
    rows: list[list[str]] = []
    # A figure of a run that failed says nothing: nobody shall copy it from here.
    shown = [one for one in run["operations"] if is_primary(one)] or run["operations"]
    for operation in (shown if run["verdict"] in COMPLETED else []) or [{}]:
        first = not rows
        rows.append(
            [
                label if first else "",
                str(run["verdict"]) if first else "",
                str(operation.get("backend") or run["backend"]) + (" *" if run["stand_in"] else ""),
                _operation(operation),
                bandwidth(operation.get("global_bw")),
                duration(operation.get("deepep_time")),
                *(_beside(run, operation, variant) for variant in BESIDE),
            ]
        )
    return rows


def _beside(run: Mapping[str, Any], record: Mapping[str, Any], variant: str) -> str:
    found = baseline_time(record.get("operation"), variant, run["operations"]) if record else None
    return duration(found) if found is not None else ""


def _starts(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line per operation of each entry that was started more than once."""
    for point in (summary.get("report") or {}).get("starts") or ():
        values = "".join(
            f", {key.split('.')[-1]}={printable(str(v), 24)}" for key, v in point["values"].items()
        )
        for one in point["operations"]:
            time = one["figures"].get("deepep_time")
            if time is None or one["baseline"]:
                continue
            text = f"{point['entry']}{values} {one['operation']}: "
            text += f"{time['starts']} of {len(point['runs'])} starts"
            text += f" ({one['marked']} marked)" if one["marked"] else ""
            text += f", median {duration(time['median'])}"
            text += f", CV {time['cv']:.2%}" if time["cv"] is not None else ""
            ends = time["interval"]
            yield text + (
                f", 95 % interval {duration(ends[0])} to {duration(ends[1])}" if ends else f" ({time['why']})"
            )


def _operation(record: Mapping[str, Any]) -> str:
    variant = f" ({record['variant']})" if record.get("variant") and not is_primary(record) else ""
    return str(record.get("operation") or "-") + variant


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Returns the cells that there are widths for."""
    padded = [
        cell.rjust(width) if number > 3 else cell.ljust(width)
        for number, (cell, width) in enumerate(zip(cells, widths))
    ]
    return _GAP.join(padded)


def _notes(summary: Mapping[str, Any]) -> list[str]:
    runs = summary["runs"]
    counts = ", ".join(
        f"{summary['counts'][verdict]} {verdict}" for verdict in VERDICTS if summary["counts"][verdict]
    )
    notes = [f"{len(runs)} run{'' if len(runs) == 1 else 's'}: {counts or 'nothing ran, which is no pass'}"]
    if summary["stand_in"]:
        notes.append("* gloo is a CPU stand-in for DeepEP: these are not DeepEP's figures.")
    for machine in summary["one_machine"]:
        notes.append(
            f"Hosts {', '.join(machine['hosts'])} are one physical machine: nothing crossed a network."
        )
    capped = sorted({f"{key} {value}" for run in runs for key, value in run["requested"].items()})
    if capped:
        notes.append(f"The inventory caps iterations; the tests ask for {', '.join(capped)}.")
    return notes
