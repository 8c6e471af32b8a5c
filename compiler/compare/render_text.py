"""A comparison as text for a terminal and as Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compiler.compare import wording
from compiler.compare.model import Comparison, Finding, Outcome, Tree

_COLUMNS = ("figure", "BASE", "NEW", "starts", "difference", "interval", "bootstrap", "detectable", "verdict")
_SHOWN_CHANGES = 8


def render_text(comparison: Comparison) -> str:
    """Returns tables for a terminal; the last line is the verdict."""
    lines = [_tree(comparison.base), _tree(comparison.new), ""]
    rows = [_row(finding) for finding in comparison.findings]
    widths = [max(len(row[index]) for row in (_COLUMNS, *rows)) for index in range(len(_COLUMNS))]
    for compared in comparison.compared:
        lines.append(_plain(compared.pair.base.label))
        lines.append("  " + _line(_COLUMNS, widths))
        for finding in compared.findings:
            lines.append("  " + _line(_row(finding), widths))
        reasons = dict.fromkeys(finding.why for finding in compared.findings if finding.hypothesis is None)
        lines.extend(f"  {why}" for why in reasons)
        lines.extend(f"  caution: {_plain(text)}" for text in compared.pair.cautions)
        for finding in compared.findings:
            if finding.caution:
                lines.append(f"  caution: {finding.figure.title}: {finding.caution}")
        changed = compared.pair.changed
        lines.extend(f"  changed: {_plain(wording.difference(one))}" for one in changed[:_SHOWN_CHANGES])
        if len(changed) > _SHOWN_CHANGES:
            lines.append(f"  changed: {len(changed) - _SHOWN_CHANGES} more (--format json has them all)")
        lines.append("")
    rest = [f"{title}: {_plain(text)}" for title, text in _not_compared(comparison)]
    if rest:
        lines += [*rest, ""]
    if comparison.findings:
        lines += [wording.method(comparison), ""]
    lines.append(_plain(wording.verdict_line(comparison)))
    return "\n".join(lines) + "\n"


def render_markdown(comparison: Comparison) -> str:
    """Returns Markdown: the verdict, one table, and folded what was not compared."""
    lines = [
        f"### Comparison: {comparison.outcome if comparison.findings else 'not compared'}",
        "",
        _escape(wording.verdict_line(comparison)),
        "",
        f"- {_escape(_tree(comparison.base))}",
        f"- {_escape(_tree(comparison.new))}",
        "",
    ]
    if comparison.findings:
        head = ("configuration", *_COLUMNS)
        lines.append("| " + " | ".join(head) + " |")
        lines.append("|" + "|".join(" --- " for _ in head) + "|")
        for compared in comparison.compared:
            for finding in compared.findings:
                cells = [compared.pair.base.label, *_row(finding)]
                if finding.outcome is Outcome.WORSE:
                    cells[-1] = "**worse**"
                    lines.append("| " + " | ".join([*map(_escape, cells[:-1]), cells[-1]]) + " |")
                else:
                    lines.append("| " + " | ".join(map(_escape, cells)) + " |")
        lines += ["", _escape(wording.method(comparison)), ""]
    cautions = [
        ("caution", f"{compared.pair.base.label}: {text}")
        for compared in comparison.compared
        for text in compared.pair.cautions
    ]
    cautions += [
        ("caution", f"{compared.pair.base.label}: {finding.figure.title}: {finding.caution}")
        for compared in comparison.compared
        for finding in compared.findings
        if finding.caution
    ]
    lines += [f"- {kind}: {_escape(text)}" for kind, text in cautions] + [""] * bool(cautions)
    changes = [
        ("changed", f"{compared.pair.base.label}: {wording.difference(one)}")
        for compared in comparison.compared
        for one in compared.pair.changed
    ]
    for title, items in (("Changed settings", changes), ("Not compared", list(_not_compared(comparison)))):
        if items:
            lines += ["<details>", f"<summary>{title}: {len(items)}</summary>", ""]
            lines += [f"- {kind}: {_escape(text)}" for kind, text in items]
            lines += ["", "</details>", ""]
    return "\n".join(lines)


def _row(finding: Finding) -> tuple[str, ...]:
    return (
        finding.figure.title,
        wording.value(finding, finding.base.geometric_mean),
        wording.value(finding, finding.new.geometric_mean),
        f"{len(finding.base.values)}/{len(finding.new.values)}",
        wording.percent(finding.relative_difference),
        wording.interval(finding),
        wording.bootstrap(finding),
        wording.detectable(finding),
        finding.outcome.value,
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _tree(tree: Tree) -> str:
    stamp = f" of {tree.stamp}" if tree.stamp else ""
    used = tree.num_runs - len(tree.left_out)
    return f"{tree.side:4} {tree.scenario}{stamp}, {used} of {tree.num_runs} runs ({tree.path})"


def _not_compared(comparison: Comparison) -> Iterator[tuple[str, str]]:
    for refused in comparison.pairing.refused:
        reasons = "; ".join(wording.difference(one) for one in refused.reasons)
        runs = f"{' + '.join(refused.base.places)} with {' + '.join(refused.new.places)}"
        yield "refused", f"{refused.base.label} ({runs}): {reasons}"
    for one in comparison.pairing.unpaired:
        yield "unpaired", f"{one.side} {one.series.label} ({' + '.join(one.series.places)}): {one.why}"
    for run in (*comparison.base.left_out, *comparison.new.left_out):
        yield "left out", f"{run.side} {run.run}: {run.why}"


def _plain(text: str) -> str:
    """Takes what a terminal would obey out of text that comes from a tree."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _escape(text: str) -> str:
    """Makes text from a tree plain text in Markdown."""
    for char in "\\`*_{}[]<>#|!~":
        text = text.replace(char, "\\" + char)
    return " ".join(_plain(" ".join(text.split())).split())
