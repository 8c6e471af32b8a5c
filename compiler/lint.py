"""Checks files and folders: finds out what each file is, and checks together what belongs together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.diagnostics.codes import finding
from compiler.diagnostics.locate import Locator
from compiler.diagnostics.model import Diagnostic, Place, Severity
from compiler.diagnostics.shown import shown
from compiler.diagnostics.wording import listing, nearest, plural
from compiler.document.kind import PROJECT_FILES, Kind, kind_of
from compiler.document.model import Document
from compiler.document.paths import exists, is_folder
from compiler.document.read import read_document
from compiler.rules.model import TestTable
from compiler.rules.no_effect import file_keys
from compiler.rules.nul_characters import anywhere
from compiler.rules.runs import RunRules
from compiler.rules.test_source import unknown_template_at
from compiler.scenario.catalog import EMPTY, Catalog, TestFile, catalog_of, load_catalog, read_test
from compiler.scenario.load import default_tests_dir, resolve_with
from compiler.scenario.raw import raw_entries
from compiler.scenario.resolve import resolve_test
from compiler.schema.store import properties, templates, test_schema
from compiler.schema.validate import validate
from compiler.settings import Projects, Settings

if TYPE_CHECKING:
    from compiler.inventory.model import Inventory
    from compiler.plan.model import Plan
    from compiler.rules.assumptions import Assumptions
    from compiler.scenario.model import Scenario

OTHER_SCHEDULERS = frozenset({"kubernetes", "lsf", "runai"})
"""Those of CloudAI that this project does not run on."""

InventorySource = Callable[[], "tuple[Inventory | None, list[Diagnostic]]"]
"""Loads the inventory that scenarios are checked against; called at most once."""

Online = Callable[["Plan", "Inventory"], "list[Diagnostic]"]
"""Checks a plan against the cluster as it is now."""


@dataclass(slots=True)
class Result:
    """What was checked and what was found; ``missing`` are paths that hold nothing to check.

    ``locator`` has read the files of findings already.
    """

    diagnostics: list[Diagnostic] = field(default_factory=list)
    files: int = 0
    missing: list[Path] = field(default_factory=list)
    locator: Locator = field(default_factory=Locator)


@dataclass(slots=True)
class _Files:
    """The files to check by kind; ``named`` are those given on the command line themselves."""

    scenarios: list[Path] = field(default_factory=list)
    systems: list[Path] = field(default_factory=list)
    tests: list[Path] = field(default_factory=list)
    named: set[Path] = field(default_factory=set)


class _Reader:
    """Reads each file once."""

    def __init__(self) -> None:
        self._read: dict[Path, Document | Diagnostic] = {}

    def __call__(self, path: Path) -> Document | Diagnostic:
        found = self._read.get(path)
        if found is None:
            found = self._read[path] = read_document(path)
        return found

    def __len__(self) -> int:
        return len(self._read)

    def texts(self) -> Iterator[tuple[Path, str]]:
        """Yields the files that could be read, with their texts."""
        return ((path, one.text) for path, one in self._read.items() if isinstance(one, Document))


def lint(
    paths: Sequence[Path],
    *,
    tests_dir: Path | None = None,
    hook_dir: Path | None = None,
    inventory: InventorySource | None = None,
    projects: Projects | None = None,
    online: Online | None = None,
) -> Result:
    """Checks TOML files, and folders with all that is below them; returns what the user wants to see of it.

    A scenario is checked with the tests of ``tests_dir`` or ``tests/`` beside it, and against ``inventory``
    or, without one, the only system TOML beside it, its hooks with those of ``hook_dir`` or the nearest
    ``hook/``. ``projects`` says what is switched off and assumed, ``online`` checks plans against the cluster
    itself.
    """
    projects = projects or Projects(Settings())
    read = _Reader()
    result = Result()
    for path in paths:
        projects.of(path)
    _check(paths, read, result, tests_dir, hook_dir, inventory, projects, online)
    result.files = len(read)
    result.diagnostics = shown(
        [*projects.findings, *result.diagnostics],
        lambda file: projects.of(file or (paths[0] if paths else None)).switches,
        result.locator,
        read.texts(),
    )
    return result


def _check(
    paths: Sequence[Path],
    read: _Reader,
    result: Result,
    tests_dir: Path | None,
    hook_dir: Path | None,
    inventory: InventorySource | None,
    projects: Projects,
    online: Online | None,
) -> None:
    files = _classify(paths, read, result)
    catalogs: dict[Path, Catalog] = {}
    used: set[tuple[Path | None, str]] = set()
    rules = _Rules()
    hosts = _Hosts(inventory, files.systems, read, result, rules, online)
    for path in files.scenarios:
        folder = tests_dir or default_tests_dir(path)
        if folder and folder not in catalogs:
            catalogs[folder] = load_catalog(folder, read)
        catalog = catalogs[folder] if folder else EMPTY
        scenario, found = resolve_with(path, catalog, read, hook_dir)
        result.diagnostics += found
        document = read(path)
        if isinstance(document, Document):
            used |= {(folder, entry.test_name) for entry in raw_entries(document) if entry.test_name}
        if scenario is not None:
            hosts.check(scenario, projects.of(path).assume)
    tests = _Tests(rules, projects, result)
    covered = _unused_tests(catalogs, used, files.named, tests)
    _lone_tests([path for path in files.tests if path not in covered], files.named, read, tests)
    for path in files.systems:
        document = read(path)
        if isinstance(document, Document):
            result.diagnostics += check_system(document)


def check_system(document: Document) -> list[Diagnostic]:
    """Returns the findings of a system TOML; one of another scheduler is not checked."""
    scheduler = document.data.get("scheduler")
    if isinstance(scheduler, str) and scheduler in OTHER_SCHEDULERS:
        text = f'scheduler = "{scheduler}" is not checked: this version knows "slurm" and "standalone"'
        return [finding("bad-value", text, Place(document.path, ("scheduler",)), severity=Severity.WARNING)]
    found = validate(document.path, document.data, "system")
    found += anywhere(TestTable(document.path, (), document.data, "system"))
    return found + list(file_keys(document.path, document.data, "system"))


class _Rules:
    """The rules about runs, for each set of assumptions."""

    def __init__(self) -> None:
        self._known: dict[Assumptions, RunRules] = {}

    def __call__(self, assume: Assumptions) -> RunRules:
        found = self._known.get(assume)
        if found is None:
            found = self._known[assume] = RunRules(assume)
        return found


class _Tests:
    """Checks tests by themselves."""

    def __init__(self, rules: _Rules, projects: Projects, result: Result) -> None:
        self._rules = rules
        self._projects = projects
        self.result = result

    def check(self, test: TestFile) -> None:
        """Adds what is wrong with a test whatever hosts it runs on."""
        entry, found = resolve_test(test)
        self.result.diagnostics += found
        if entry is not None:
            self.result.diagnostics += self._rules(self._projects.of(test.path).assume).of_test(entry)


class _Hosts:
    """Checks scenarios against an inventory, or against the system TOML that stands in for one.

    Without either the rules about runs assume the number of ranks per host.
    """

    def __init__(
        self,
        inventory: InventorySource | None,
        systems: Sequence[Path],
        read: _Reader,
        result: Result,
        rules: _Rules,
        online: Online | None,
    ) -> None:
        self._online = online
        self._source = inventory
        self._systems = systems
        self._read = read
        self._result = result
        self._rules = rules
        self._known: dict[Path | None, Inventory | None] = {}

    def check(self, scenario: Scenario, assume: Assumptions) -> None:
        """Adds what is wrong with the runs of a scenario."""
        inventory = self._inventory(scenario.path)
        if inventory is None:
            rules = self._rules(assume)
            for entry in scenario.entries:
                self._result.diagnostics += rules.of_entry_alone(entry)
            return
        from compiler.plan.build import build_plan

        plan, found = build_plan(scenario, inventory, assume)
        self._result.diagnostics += found
        if self._online is not None and plan is not None:
            self._result.diagnostics += self._online(plan, inventory)

    def _inventory(self, scenario: Path) -> Inventory | None:
        if self._source is not None:
            if None not in self._known:
                inventory, found = self._source()
                self._known[None] = inventory
                self._result.diagnostics += found
            return self._known[None]
        beside = [system for system in self._systems if system.parent == scenario.parent]
        if len(beside) > 1:
            names = listing((path.name for path in beside), "and")
            text = f"{names} lie beside the scenario: hosts are not checked"
            self._result.diagnostics.append(finding("system-unclear", text, Place(scenario)))
        return self._from_system(beside[0]) if len(beside) == 1 else None

    def _from_system(self, system: Path) -> Inventory | None:
        if system not in self._known:
            document = self._read(system)
            self._known[system] = None
            if isinstance(document, Document) and not validate(system, document.data, "system"):
                from compiler.inventory.system import system_to_inventory

                inventory, found = system_to_inventory(document)
                self._known[system] = inventory
                self._result.diagnostics += found
        return self._known[system]


def _classify(paths: Sequence[Path], read: _Reader, result: Result) -> _Files:
    files = _Files()
    for path in dict.fromkeys(paths):
        if is_folder(path):
            below = list(_toml_below(path))
            if not below:
                result.missing.append(path)
            for file in below:
                _sort_in(file, files, read, result, named=False)
        elif path.name in PROJECT_FILES:
            read(path)  # checked as the project's settings
        elif exists(path):
            files.named.add(path)
            _sort_in(path, files, read, result, named=True)
        else:
            result.missing.append(path)
    return files


def _toml_below(folder: Path) -> Iterator[Path]:
    """Yields ``*.toml`` of a folder and its sub-folders, hidden ones left out."""
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names + [name for name in folders if name.endswith(".toml")]):
            if name.endswith(".toml") and not name.startswith(".") and name not in PROJECT_FILES:
                yield Path(base, name)


def _sort_in(path: Path, files: _Files, read: _Reader, result: Result, *, named: bool) -> None:
    document = read(path)
    if isinstance(document, Diagnostic):
        result.diagnostics.append(document)
        return
    match kind_of(document.data):
        case Kind.SCENARIO:
            files.scenarios.append(path)
        case Kind.SYSTEM:
            files.systems.append(path)
        case Kind.TEST:
            files.tests.append(path)
        case None:
            result.diagnostics += _unknown_kind(document, named)


def _unknown_kind(document: Document, named: bool) -> Iterator[Diagnostic]:
    marks = ["test_template_name", "cmd_args", "Tests", "scheduler"]
    slips = [(key, meant) for key in document.data if (meant := nearest(key, marks))]
    known = {key for name in ("scenario", "system", test_schema(templates()[0])) for key in properties(name)}
    if not named and not slips and known.isdisjoint(document.data):
        yield finding("file-skipped", f"{document.path} is no file of a benchmark", Place(document.path))
        return
    if slips:
        key, meant = slips[0]
        place = Place(document.path, (key,), on_key=True)
        yield finding(
            "unknown-file-kind", f"what the file is cannot be told; {key}?", place, fix=f"write {meant}"
        )
        return
    text = f"what the file is cannot be told from its keys ({listing(document.data, 'and') or 'it has none'})"
    yield finding("unknown-file-kind", text, Place(document.path))


def _unused_tests(
    catalogs: dict[Path, Catalog], used: set[tuple[Path | None, str]], named: set[Path], tests: _Tests
) -> set[Path]:
    """Checks the tests that no scenario uses; returns the paths of all tests that a catalog holds.

    That nobody uses a test is said only where no error may be the reason.
    """
    result = tests.result
    complete = not any(one.severity is Severity.ERROR for one in result.diagnostics)
    covered: set[Path] = set()
    for folder, catalog in catalogs.items():
        covered |= set(catalog.paths)
        for name, files in catalog.tests.items():
            if (folder, name) in used:
                continue
            for test in files:
                tests.check(test)
                if complete and test.known and test.path not in named:
                    text = f"no scenario uses the test {name}"
                    result.diagnostics.append(finding("unused-test", text, Place(test.path, ("name",))))
    return covered


def _lone_tests(paths: Sequence[Path], named: set[Path], read: _Reader, tests: _Tests) -> None:
    """Checks tests that belong to no scenario of this call; those of one folder may not share a name."""
    result = tests.result
    for path in (path for path in paths if path in named):
        document = read(path)
        if isinstance(document, Document):
            test, found = read_test(document)
            result.diagnostics += found + _foreign(test)
            tests.check(test)
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        if path not in named:
            folders.setdefault(path.parent, []).append(path)
    for folder, members in folders.items():
        catalog = catalog_of(members, folder, read)
        result.diagnostics += catalog.diagnostics
        for files in catalog.tests.values():
            for test in files:
                tests.check(test)


def _foreign(test: TestFile) -> list[Diagnostic]:
    if test.template is None or test.known:
        return []
    return [unknown_template_at(Place(test.path, ("test_template_name",)), test.template)]


def summary(result: Result, errors: int, warnings: int, hidden: int = 0) -> str:
    """Returns the line that ends the text output; ``hidden`` infos were not printed."""
    checked = f"{plural(result.files, 'file')} checked"
    more = f" ({plural(hidden, 'info')} not shown: --verbose)" if hidden else ""
    if not errors and not warnings:
        return f"{checked}: no errors{more}"
    parts = [plural(errors, "error")] if errors else []
    parts += [plural(warnings, "warning")] if warnings else []
    return f"{checked}: {' and '.join(parts)}{more}"
