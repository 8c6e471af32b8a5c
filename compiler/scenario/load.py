"""The way in: a scenario file and the folder of its tests."""

from __future__ import annotations

from pathlib import Path

from compiler.diagnostics.model import Diagnostic
from compiler.document.paths import is_folder
from compiler.document.read import read_document
from compiler.scenario.catalog import EMPTY, Catalog, Read, load_catalog
from compiler.scenario.hooks import with_hooks
from compiler.scenario.model import Scenario
from compiler.scenario.resolve import resolve_scenario


def default_tests_dir(scenario: Path) -> Path | None:
    """Returns ``tests/`` beside the scenario, or the folder that CloudAI's configurations have, if there.

    That is ``test/`` beside it or, for scenarios in ``test_scenario/``, ``test/`` beside that folder.
    """
    folder = scenario.parent
    places = [folder / "tests", folder / "test"]
    if folder.name == "test_scenario":
        places.append(folder.parent / "test")
    return next((place for place in places if is_folder(place)), None)


def load_scenario(
    scenario: Path, tests_dir: Path | None, hook_dir: Path | None = None
) -> tuple[Scenario | None, list[Diagnostic]]:
    """Reads, checks and resolves a scenario with its hooks; every finding of every file in one go.

    ``tests_dir`` None means ``tests/`` beside the scenario, ``hook_dir`` None the nearest ``hook/``, if there
    is one. The scenario is None where any of the files has an error.
    """
    folder = tests_dir or default_tests_dir(scenario)
    catalog = load_catalog(folder) if folder else EMPTY
    return resolve_with(scenario, catalog, hook_dir=hook_dir)


def resolve_with(
    scenario: Path, catalog: Catalog, read: Read = read_document, hook_dir: Path | None = None
) -> tuple[Scenario | None, list[Diagnostic]]:
    """As :func:`load_scenario`, with tests that were read before; their findings are among those returned."""
    document = read(scenario)
    if isinstance(document, Diagnostic):
        return None, [document, *catalog.diagnostics]
    resolved, found = resolve_scenario(document, catalog)
    found += catalog.diagnostics
    resolved, more = with_hooks(document, resolved, hook_dir, read)
    found += more
    return (None if catalog.faulty else resolved), found
