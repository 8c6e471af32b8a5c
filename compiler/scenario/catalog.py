"""The tests of a tests folder, each file read and checked once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic, Place, Severity
from compiler.diagnostics.wording import listing, plural, quoted, value_text
from compiler.document.kind import PROJECT_FILES, Kind, kind_of
from compiler.document.model import Document
from compiler.document.read import read_document
from compiler.rules.model import TestTable
from compiler.rules.run import check_table
from compiler.scenario.raw import Table, text_or_none
from compiler.schema.store import templates, test_schema
from compiler.schema.validate import validate


@dataclass(frozen=True, slots=True)
class TestFile:
    """One test TOML. ``valid`` is False where it has errors of its own."""

    __test__ = False

    path: Path
    data: Table
    name: str | None
    template: str | None
    valid: bool

    @property
    def known(self) -> bool:
        """Whether the workload is one that this compiler has a schema for."""
        return self.template in templates()


@dataclass(frozen=True, slots=True)
class Catalog:
    """The tests by name, what is wrong with their files, and the texts of files that could not be read."""

    tests: Mapping[str, tuple[TestFile, ...]]
    diagnostics: tuple[Diagnostic, ...] = ()
    broken: tuple[str, ...] = field(default=(), repr=False)
    paths: tuple[Path, ...] = ()
    """All files that were read."""

    @property
    def faulty(self) -> bool:
        """Whether any file has an error."""
        return any(one.severity is Severity.ERROR for one in self.diagnostics)

    def may_define(self, name: str) -> bool:
        """Tells whether a file that could not be read may hold the test ``name``."""
        return any(quoted(name) in text or f"'{name}'" in text for text in self.broken)


EMPTY = Catalog({})


Read = Callable[[Path], Document | Diagnostic]
"""How a file is read; a cache may stand in for :func:`read_document`."""


def load_catalog(directory: Path, read: Read = read_document) -> Catalog:
    """Reads all ``*.toml`` directly in a folder."""
    try:
        paths = sorted(
            path for path in directory.iterdir() if path.suffix == ".toml" and path.name not in PROJECT_FILES
        )
    except OSError as error:
        reason = f"cannot read the tests folder {directory}: {error.strerror}"
        return Catalog({}, (finding("unreadable-file", reason, Place(directory)),))
    return catalog_of(paths, directory, read)


def catalog_of(paths: Sequence[Path], directory: Path, read: Read = read_document) -> Catalog:
    """Reads test files; ``directory`` is where findings about all of them are placed."""
    found: list[Diagnostic] = []
    broken: list[str] = []
    tests: dict[str, list[TestFile]] = {}
    others: dict[str, int] = {}
    for path in paths:
        document = read(path)
        if isinstance(document, Diagnostic):
            found.append(document)
            broken.append(_raw_text(path))
            continue
        kind = kind_of(document.data)
        if kind in (Kind.SCENARIO, Kind.SYSTEM):
            others[f"a {kind.value} TOML"] = others.get(f"a {kind.value} TOML", 0) + 1
            continue
        test, problems = read_test(document)
        found += problems
        if test.name is not None:
            tests.setdefault(test.name, []).append(test)
        if test.template is not None and not test.known:
            others[test.template] = others.get(test.template, 0) + 1
    found += _duplicates(tests)
    if others:
        what = ", ".join(f"{name} ({number})" for name, number in sorted(others.items()))
        text = f"{plural(sum(others.values()), 'file')} in {directory} skipped: {what}"
        found.append(finding("file-skipped", text, Place(directory)))
    return Catalog(
        {name: tuple(files) for name, files in tests.items()}, tuple(found), tuple(broken), tuple(paths)
    )


def read_test(document: Document) -> tuple[TestFile, list[Diagnostic]]:
    """Returns the test of a document and its findings; other workloads are not checked."""
    data = document.data
    template = text_or_none(data.get("test_template_name"))
    found: list[Diagnostic] = []
    if template in templates() or template is None:
        schema = test_schema(template or templates()[0])
        found += validate(document.path, data, schema)
        found += check_table(TestTable(document.path, (), data, schema))
    valid = not any(one.severity is Severity.ERROR for one in found)
    return TestFile(document.path, data, text_or_none(data.get("name")), template, valid), found


def _duplicates(tests: Mapping[str, Sequence[TestFile]]) -> list[Diagnostic]:
    found = []
    for name, files in tests.items():
        if len(files) > 1 and any(test.known for test in files):
            for test in files:
                where = listing((str(other.path) for other in files if other is not test), "and")
                text = f"the name {value_text(name)} is also used in {where}"
                found.append(finding("duplicate-test-name", text, Place(test.path, ("name",))))
    return found


def _raw_text(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace") if path.is_file() else ""
    except OSError:
        return ""
