"""``pre_test`` and ``post_test``: the hook scenarios that a scenario names, from its hook folder.

As in CloudAI (src/cloudai/parser.py, systems/slurm/slurm_command_gen_strategy.py @ 5b5c0f7): TOMLs in a
folder ``hook``, named by their ``name``, which use the tests of ``hook/test`` alone. Their tests run before
and after each run of each entry, on that run's own hosts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from compiler.diagnostics.codes import finding, prevents
from compiler.diagnostics.model import Diagnostic, Place
from compiler.diagnostics.wording import listing, nearest, value_text
from compiler.document.kind import Kind, kind_of
from compiler.document.model import Document
from compiler.document.paths import is_folder
from compiler.document.read import read_document
from compiler.scenario.catalog import EMPTY, Read, load_catalog
from compiler.scenario.model import Entry, Scenario
from compiler.scenario.raw import raw_entries
from compiler.scenario.resolve import resolve_scenario

KEYS = ("pre_test", "post_test")
_LEVELS = 3
"""How many folders up a hook folder is looked for: CloudAI has conf/hook and conf/common/test_scenario."""


@dataclass(slots=True)
class _Folder:
    """A hook folder's scenarios by name, each file read once."""

    path: Path | None
    read: Read
    findings: list[Diagnostic]

    def find(self, name: str, place: Place) -> Document | None:
        """Returns the hook scenario of that name; None, with the finding, where there is not exactly one."""
        documents = list(self._documents())
        named = [one for one in documents if one.data.get("name") == name]
        if len(named) == 1:
            return named[0]
        if named:
            files = listing((str(one.path) for one in named), "and")
            self.findings.append(finding("unknown-hook", f"{value_text(name)} is the name of {files}", place))
            return None
        known = [str(one.data.get("name")) for one in documents]
        meant = nearest(name, known)
        where = f"in {self.path}" if self.path else "since there is no hook folder"
        fix = f"the hooks are {listing(known, 'and')}" if known else ""
        fix = f"write {value_text(meant)}" if meant else fix
        text = f"there is no hook scenario {value_text(name)} {where}"
        self.findings.append(finding("unknown-hook", text, place, fix=fix))
        return None

    def _documents(self) -> Iterator[Document]:
        try:
            paths = sorted(self.path.glob("*.toml")) if self.path else []
        except OSError as error:
            text = f"cannot read the hook folder {self.path}: {error.strerror}"
            self.findings.append(finding("unreadable-file", text, Place(self.path) if self.path else None))
            return
        for path in paths:
            document = self.read(path)
            if isinstance(document, Diagnostic):
                self.findings.append(document)
            elif kind_of(document.data) is Kind.SCENARIO:
                yield document


def default_hook_dir(scenario: Path) -> Path | None:
    """Returns the nearest folder ``hook`` beside a scenario or some levels up; else ``conf/hook`` here."""
    here = scenario.absolute().parent
    places = [folder / "hook" for folder in (here, *here.parents)[: _LEVELS + 1]]
    return next((place for place in [*places, Path("conf/hook")] if is_folder(place)), None)


def with_hooks(
    document: Document, scenario: Scenario | None, hook_dir: Path | None, read: Read = read_document
) -> tuple[Scenario | None, list[Diagnostic]]:
    """Returns the scenario with its hooks, None where they have errors, and the findings about them."""
    names = {key: name for key in KEYS if isinstance(name := document.data.get(key), str) and name}
    if not names:
        return scenario, []
    found: list[Diagnostic] = []
    folder = _Folder(hook_dir or default_hook_dir(document.path), read, found)
    hooks: dict[str, tuple[Entry, ...]] = {}
    known: dict[str, tuple[Entry, ...]] = {}
    for key, name in names.items():
        if name not in known:
            hook = folder.find(name, Place(document.path, (key,)))
            known[name] = _entries(hook, found, read) if hook is not None else ()
        hooks[key] = known[name]
    failed = any(prevents(one) for one in found) or not all(hooks.values())
    if scenario is None or failed:
        return None, _once(found)
    before, after = hooks.get("pre_test", ()), hooks.get("post_test", ())
    return replace(scenario, pre_test=before, post_test=after), _once(found)


def _entries(hook: Document, found: list[Diagnostic], read: Read) -> tuple[Entry, ...]:
    """Returns the tests of a hook scenario; findings about them are added."""
    tests = next((place for name in ("test", "tests") if is_folder(place := hook.path.parent / name)), None)
    catalog = load_catalog(tests, read) if tests else EMPTY
    resolved, problems = resolve_scenario(hook, catalog)
    found += problems
    found += catalog.diagnostics
    found += _impossible(hook)
    for entry in resolved.entries if resolved is not None else ():
        if len(entry.cases) > 1:
            swept = listing(entry.cases[0].sweep, "and")
            found.append(_refused(f"{entry.id} sweeps {swept}, but a hook sweeps nothing", entry.place, ""))
    return resolved.entries if resolved is not None and not catalog.faulty else ()


def _impossible(hook: Document) -> Iterator[Diagnostic]:
    """Yields what a hook cannot have: it is part of a run, on that run's hosts, once."""
    for key in KEYS:
        if key in hook.data:
            yield _refused("a hook has no hooks", Place(hook.path, (key,), on_key=True), "remove it")
    for entry in raw_entries(hook):
        for key, text, fix in (
            (
                "nodes",
                "a hook runs on hosts of the run that it belongs to",
                "write num_nodes",
            ),
            ("exclude_nodes", "a hook runs on hosts of the run that it belongs to", "remove it"),
            ("dependencies", "tests of a hook run one after another", "put them into that order"),
            ("iterations", "a test of a hook runs once", "write it twice"),
        ):
            if entry.data.get(key) not in (None, [], 1):
                yield _refused(f"{entry.label} sets {key}, but {text}", entry.place(key, on_key=True), fix)


def _refused(text: str, place: Place, fix: str) -> Diagnostic:
    return finding("hook-not-possible", text, place, fix=fix)


def _once(found: list[Diagnostic]) -> list[Diagnostic]:
    return list({(one.code, one.place, one.message): one for one in found}.values())
