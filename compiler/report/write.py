"""Judges a result tree and writes all of its reports."""

from __future__ import annotations

from pathlib import Path

from compiler.report.host_judge import (
    NotAResultTreeError,
    judge_session,
    read_plan,
    render_table,
    write_manifest,
    write_text,
)
from compiler.report.page import render_page
from compiler.report.tree import read_session

__all__ = ["NotAResultTreeError", "write_reports"]


def write_reports(top: Path) -> tuple[bool, str]:
    """Judges the tree at ``top`` and writes summary, CSV, JUnit and the page.

    Returns whether every run passed, and a table for the terminal that ends with the page's path.
    Raises NotAResultTreeError where ``top`` is no result tree, and OSError where it cannot be written.
    """
    summary = judge_session(top, manifest=False)
    page = top / f"{summary['scenario']}.html"
    write_text(str(page), render_page(read_session(top, read_plan(top), summary)))
    write_manifest(top)
    return summary["passed"], f"{render_table(summary)}\nReport: {page}"
