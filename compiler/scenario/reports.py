"""A scenario's ``[reports]``: which reports are written, and which reference values its tests are held to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic, Place
from compiler.document.model import Document
from compiler.scenario.model import References, Reports
from compiler.scenario.raw import Table, table_or_empty

NAMES = {
    "status": "page",
    "csv": "csv",
    "junit": "junit",
    "markdown": "markdown",
    "dse": "sweeps",
    "tarball": "archive",
}
"""The scenario's names of reports (CloudAI's where it has one), and this project's."""


def read_reports(document: Document) -> tuple[Reports, list[Diagnostic]]:
    """Returns what a scenario that fits its schema asks for, and which files of references are unusable."""
    tables = table_or_empty(document.data.get("reports"))
    said = {
        ours: table_or_empty(tables[name])["enable"] is True for name, ours in NAMES.items() if name in tables
    }
    references, found = _references(document.path, table_or_empty(tables.get("reference")))
    return Reports(**said, references=references), found


def _references(file: Path, table: Table) -> tuple[References | None, list[Diagnostic]]:
    listed = table.get("files")
    files = [str(name) for name in listed] if isinstance(listed, list) else []
    fail = table.get("fail") is True
    if not files and not fail:
        return None, []
    from compiler.reference.load import UnusableReferencesError, read_references, shipped

    values: list[Mapping[str, Any]] = [*read_references(shipped())] if fail else []
    found = []
    for number, name in enumerate(files):
        try:
            values += read_references([file.parent / name])
        except UnusableReferencesError as error:
            place = Place(file, ("reports", "reference", "files", number))
            found.append(finding("unusable-references", str(error), place))
    return References(fail, tuple(values)), found
