"""The summary as Markdown, for a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compiler.report.host_judge import BESIDE, VERDICTS, bandwidth, duration
from compiler.report.model import LINKS, Run, Session

MOST_ROWS = 200
"""Runs listed; a pull request's comment has a limit."""

_MARKS = {
    "PASS": "✅",
    "FAIL": "❌",
    "TIMEOUT": "⏱️",
    "INVALID": "⚠️",
    "UNVERIFIED": "❔",
    "NOT_RUN": "⏭️",
}


def render_markdown(session: Session, comparison: str | None = None) -> str:
    """Returns verdict, figures, reasons and suspects; ``comparison`` is appended as it is."""
    counts = ", ".join(f"{session.counts[v]} {v}" for v in VERDICTS if session.counts[v])
    mark = _MARKS["PASS" if session.passed else "FAIL"]
    lines = [f"## {mark} {escape(session.scenario)}: {counts or 'nothing ran'}", ""]
    lines += [f"> {escape(note)}" for note in _notes(session)]
    lines += [""] if lines[-1].startswith(">") else []
    if session.runs:
        beside = BESIDE if session.has_baselines else {}
        tested = {key: LINKS[key] for key in session.tested_links}
        figures = ["global bandwidth", "time (median)", *tested.values(), *beside.values()]
        lines.append(f"| run | verdict | backend | operation | {' | '.join(figures)} |")
        lines.append("| --- | --- | --- | --- |" + " ---: |" * len(figures))
        for run in session.runs[:MOST_ROWS]:
            lines += _rows(run, list(tested), list(beside))
        if len(session.runs) > MOST_ROWS:
            lines.append(f"| … and {len(session.runs) - MOST_ROWS} more |" + " |" * (3 + len(figures)))
        lines.append("")
    lines += _starts(session)
    for run in [run for run in session.runs if run.reasons][:MOST_ROWS]:
        lines += _reasons(run)
    noted = [(run, note) for run in session.runs for note in run.notes]
    if noted:
        lines += [f"- {escape(run.label)}: {escape(note)}" for run, note in noted[:MOST_ROWS]]
        lines += [f"- and {len(noted) - MOST_ROWS} more notes"] if len(noted) > MOST_ROWS else []
        lines.append("")
    lines += _before(session)
    slow = [(run, fact) for run in session.runs for fact in run.spread if fact.outliers]
    if slow:
        lines += ["**Out of line:**", ""]
        for run, fact in slow[:MOST_ROWS]:
            names = ", ".join(f"{escape(o.text)} {o.relative:+.1%}" for o in fact.outliers[:5])
            lines.append(f"- {escape(run.label)}, {escape(fact.operation)}: {names}")
        lines.append("")
    missed = [one for run in session.runs for one in run.ratios if one.outcome == "worse"]
    if missed:
        lines += ["**Below the reference:**", ""]
        lines += [
            f"- {escape(one.run)}, {escape(one.operation)}: {one.figure} {one.ratio:.0%} of "
            f"{escape(one.source)}"
            for one in missed[:MOST_ROWS]
        ]
        lines.append("")
    if comparison:
        lines += [comparison.rstrip(), ""]
    return "\n".join(lines)


def _notes(session: Session) -> Iterator[str]:
    if session.origin:
        yield f"{session.origin}: {session.unproven}."
    if session.stand_in:
        yield "A CPU stand-in (gloo) moved the tokens: these are not DeepEP's figures."
    for _, hosts in session.one_machine:
        yield f"{', '.join(hosts)} are one physical machine: nothing crossed a network between them."
    for name, value, requested in session.capped:
        yield f"{name}: {value} instead of {requested} (capped by the inventory)."


def _before(session: Session) -> list[str]:
    """Returns what was wrong with hosts before the runs."""
    lines = []
    for one in (session.preflight.troubles if session.preflight else ())[:MOST_ROWS]:
        helps = f" (what helps: {escape(one.remedy)})" if one.remedy else ""
        lines.append(f"- preflight, {escape(one.check)} on {escape(one.hosts)}: {escape(one.text)}{helps}")
    for tested in (session.selftest.troubles if session.selftest else ())[:MOST_ROWS]:
        told = [
            f"{escape(operation)} {time.relative:+.1%}"
            for operation, time in tested.outliers.items()
            if time.relative is not None
        ]
        lines.append(f"- self-test, {escape(tested.host)}: {escape(tested.reason) or ', '.join(told)}")
    return ["**Hosts before the runs:**", "", *lines, ""] if lines else []


def _rows(run: Run, tested: Sequence[str], beside: Sequence[str]) -> list[str]:
    rows = []
    for number, record in enumerate((run.heads if run.counts else []) or [None]):
        first = number == 0
        cells = [
            escape(run.label) if first else "",
            f"{_MARKS.get(run.verdict, '')} {run.verdict}" if first else "",
            escape((record.backend if record else "") or run.backend)
            + (" (stand-in)" if run.stand_in else ""),
            escape(record.name) if record else "\N{EN DASH}",
            bandwidth(record.global_bw) if record else "\N{EN DASH}",
            duration(record.deepep_time, "µs") if record else "\N{EN DASH}",
            *(bandwidth(record.as_tested.get(key)) if record else "\N{EN DASH}" for key in tested),
            *(
                duration(run.baseline(record.operation, variant), "µs") if record else "\N{EN DASH}"
                for variant in beside
            ),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _starts(session: Session) -> list[str]:
    """Returns what independent starts of one entry and point gave together."""
    rows = []
    for point in session.repeated[:MOST_ROWS]:
        values = "".join(f", {key.rsplit('.', 1)[-1]}={value}" for key, value in point.values.items())
        for one in point.operations:
            time = one.figures.get("deepep_time")
            if time is None or one.baseline:
                continue
            ends = time.interval
            cells = [
                escape(point.entry + values),
                escape(one.name),
                f"{time.starts} of {len(point.runs)}" + (f" ({one.marked} marked)" if one.marked else ""),
                duration(time.median, "µs"),
                "\N{EN DASH}" if time.cv is None else f"{time.cv:.2%}",
                f"{duration(ends[0], 'µs')} to {duration(ends[1], 'µs')}" if ends else escape(time.why),
            ]
            rows.append("| " + " | ".join(cells) + " |")
    head = ["| independent starts | operation | starts | time (median) | CV | 95 % interval |",
            "| --- | --- | ---: | ---: | ---: | ---: |"]  # fmt: skip
    return [*head, *rows, ""] if rows else []


def _reasons(run: Run) -> list[str]:
    cause = run.reasons[0]
    where = f" (`{cause.file}{':' + str(cause.line) if cause.line else ''}`)" if cause.file else ""
    where = where if "`" not in (cause.file or "") and "\n" not in where else ""
    lines = [f"**{escape(run.label)}: {run.verdict}.** {escape(cause.text)}{where}", ""]
    if cause.remedy:
        lines += [f"- what helps: {escape(cause.remedy)}"]
    if run.suspect:
        lines += [f"- suspect: {escape(run.suspect.text)}"]
    more = len(run.reasons) - 1
    if more:
        lines += [f"- and {more} more finding{'' if more == 1 else 's'}"]
    return [*lines, ""] if lines[-1] else lines


def escape(text: str) -> str:
    """Returns a text from a tree as plain text in Markdown, on one line."""
    for character in "\\`*_{}[]<>#|!~@":
        text = text.replace(character, "\\" + character if character != "@" else "@\u200b")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
