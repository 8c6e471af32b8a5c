"""Judges a result tree and writes all of its reports."""

from __future__ import annotations

import gc
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.reference.load import UnusableReferencesError, read_references, shipped
from compiler.report import facts
from compiler.report.host_judge import (
    NotAResultTreeError,
    chosen,
    judge_session,
    read_plan,
    render_table,
    write_manifest,
    write_rows,
    write_text,
)
from compiler.report.markdown import render_markdown
from compiler.report.page import render_page
from compiler.report.sweeps import to_csv
from compiler.report.tree import read_session, with_files
from compiler.report.values import objects

if TYPE_CHECKING:
    from compiler.compare.model import Comparison

__all__ = ["NotAResultTreeError", "UnusableReferencesError", "write_reports"]


ALPHA = 0.05
THRESHOLD = 0.03
"""As the defaults of the command ``compare``."""


@dataclass(frozen=True, slots=True)
class _Compared:
    """A comparison in the forms that the reports need."""

    comparison: Comparison
    json: dict[str, Any]
    markdown: str


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keeps Python from looking for cycles: there are none among so many objects, and it takes long."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


@_no_collection()
def write_reports(top: Path, base: Path | None = None, references: Sequence[Path] = ()) -> tuple[bool, str]:
    """Judges the tree at ``top`` and writes summary, CSV, JUnit, Markdown and the page.

    ``base`` is a tree to compare with; ``references`` are files or folders of reference values beside those
    that come with the compiler. Returns whether every run passed, and a table for the terminal that ends with
    the page's path. Raises NotAResultTreeError where ``top`` or ``base`` is no result tree,
    UnusableReferencesError, and OSError where the tree cannot be written.
    """
    plan = read_plan(top)
    choice = chosen(plan)
    values = _once([*read_references([*shipped(), *references]), *_of_plan(plan)])
    summary = judge_session(top, manifest=False)
    compared = _compare(base, top) if base is not None else None
    session = read_session(top, plan, summary, values)
    summary["report"] = facts.to_json(session, compared.json if compared else None)
    write_rows(str(top / "summary.json"), summary)
    if choice.markdown:
        text = render_markdown(session, compared.markdown if compared else None)
        write_text(str(top / "summary.md"), text)
    if choice.sweeps and session.sweeps:
        write_text(str(top / "sweeps.csv"), to_csv(session.sweeps))
    shown = render_table(summary)
    if choice.page:
        page = top / f"{summary['scenario']}.html"
        whole = with_files(top, session)
        write_text(str(page), render_page(whole, compared.comparison if compared else None))
        shown += f"\nReport: {page}"
    write_manifest(top)
    if choice.archive and not summary["passed"]:
        shown += f"\nArchive: {write_archive(top)}"
    return summary["passed"], shown


def _of_plan(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the reference values that the scenario names."""
    asked = plan.get("references")
    return objects(asked.get("values")) if isinstance(asked, dict) else []


def _once(values: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({json.dumps(value, sort_keys=True, default=str): value for value in values}.values())


def write_archive(top: Path) -> Path:
    """Packs a tree into ``<tree>.tgz`` beside it, as CloudAI does, and returns the archive's path."""
    target = top.resolve().with_name(top.resolve().name + ".tgz")
    part = target.with_name(f".{target.name}.part")
    with tarfile.open(part, "w:gz") as archive:
        archive.add(top, arcname=top.resolve().name)
    part.replace(target)
    return target


def _compare(base: Path, new: Path) -> _Compared:
    from compiler.compare.judge import compare
    from compiler.compare.model import Side
    from compiler.compare.render_json import to_json
    from compiler.compare.render_text import render_markdown as comparison_markdown
    from compiler.compare.tree import TreeError, read_tree

    try:
        comparison = compare(
            read_tree(base, Side.BASE), read_tree(new, Side.NEW), alpha=ALPHA, threshold=THRESHOLD
        )
    except TreeError as error:
        raise NotAResultTreeError(f"cannot compare with {base}: {error}") from error
    return _Compared(comparison, to_json(comparison), comparison_markdown(comparison))
