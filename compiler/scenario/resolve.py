"""From a scenario's document and the tests of its folder to a :class:`Scenario`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

from compiler.diagnostics.codes import finding, prevents
from compiler.diagnostics.model import Diagnostic, Place
from compiler.diagnostics.wording import plural
from compiler.document.model import Document
from compiler.rules import excluded_arguments, test_source
from compiler.rules.model import RawScenario, TestTable
from compiler.rules.run import check_cases, check_scenario, check_table
from compiler.scenario import sweep
from compiler.scenario.catalog import Catalog, TestFile
from compiler.scenario.merge import merge
from compiler.scenario.model import Arguments, Case, Dependency, Entry, NodeSpec, Origin, Scenario
from compiler.scenario.raw import RawEntry, Table, raw_entries, table_or_empty
from compiler.scenario.reports import read_reports
from compiler.scenario.time_limit import Refused, parse_time_limit
from compiler.schema.store import properties, templates, test_schema
from compiler.schema.validate import validate

_SCHEMA = "scenario"
_ENTRY = "/$defs/entry"
_ARGUMENTS = "/properties/cmd_args"


def resolve_scenario(document: Document, catalog: Catalog) -> tuple[Scenario | None, list[Diagnostic]]:
    """Returns the scenario, or None where it or a test that it uses has errors, and the scenario's findings.

    Errors that the user may switch off (a kernel's limits) do not count: there is a scenario with them.
    Findings of the test files themselves are the catalog's.
    """
    file = document.path
    raw = RawScenario(file, document.data, raw_entries(document), catalog)
    foreign = {entry.index for entry in raw.entries if test_source.foreign(raw, entry)}
    found = [one for one in validate(file, document.data, _SCHEMA) if _entry_index(one) not in foreign]
    found += [one for one in check_scenario(raw) if _entry_index(one) not in foreign or _of_names(one)]
    faulty = {_entry_index(one) for one in found if prevents(one)}
    entries: list[Entry] = []
    for entry in raw.entries:
        if entry.index in foreign:
            continue
        problems = check_table(TestTable(file, entry.path(), entry.data, _SCHEMA, _ENTRY))
        test = _test_of(entry, catalog)
        if test is not None and entry.test_name is not None and "cmd_args" in entry.data:
            schema = test_schema(cast("str", test.template))
            value = entry.data["cmd_args"]
            if isinstance(value, dict):
                problems += validate(file, value, schema, pointer=_ARGUMENTS, at=entry.path("cmd_args"))
        found += problems
        if entry.index in faulty or _has_error(problems) or test is None or not test.valid:
            continue
        resolved, problems = _resolve_entry(entry, test)
        found += problems
        if resolved is not None:
            found += check_cases(resolved)
            entries.append(resolved)
    found += _too_many_runs(file, entries)
    if _has_error(found) or len(entries) != len(raw.entries) or not entries:
        return None, found
    reports, problems = read_reports(document)
    if problems:
        return None, found + problems
    return Scenario(cast("str", document.data["name"]), file, tuple(entries), reports), found


def resolve_test(test: TestFile) -> tuple[Entry | None, list[Diagnostic]]:
    """Returns a test as an entry that uses it as it is, and its findings."""
    if not test.valid or not test.known:
        return None, []
    entry = RawEntry(test.path, 0, {}, test.name, test.name, test.template, ())
    resolved, found = _resolve_entry(entry, test)
    return resolved, found + (check_cases(resolved) if resolved else [])


def _entry_index(one: Diagnostic) -> int | None:
    path = one.place.path if one.place else ()
    return path[1] if len(path) > 1 and path[0] == "Tests" and isinstance(path[1], int) else None


def _of_names(one: Diagnostic) -> bool:
    """Tells whether a finding is about names, ids, or dependencies: right also for other workloads."""
    return "DEP201" <= one.code <= "DEP212" or one.code == "DEP221"


def _has_error(found: Sequence[Diagnostic]) -> bool:
    return any(prevents(one) for one in found)


def _test_of(entry: RawEntry, catalog: Catalog) -> TestFile | None:
    """Returns the entry's test if its workload is known; one that the entry defines itself has no file."""
    if entry.test_name is not None:
        files = catalog.tests.get(entry.test_name, ())
        return files[0] if files and files[0].known else None
    if "test_name" in entry.data or entry.template not in templates():
        return None
    return TestFile(entry.file, {}, None, entry.template, True)


def _resolve_entry(entry: RawEntry, test: TestFile) -> tuple[Entry | None, list[Diagnostic]]:
    schema = test_schema(cast("str", test.template))
    data = merge(test.data, {key: value for key, value in entry.data.items() if key in _overrides(schema)})
    defaults = _defaults(schema)
    given = table_or_empty(data.get("cmd_args"))
    arguments = {**defaults, **given}
    env = cast("Mapping[str, Any]", data.get("extra_env_vars", {}))
    num_nodes = entry.data.get("num_nodes")
    own = (entry.place(), entry.data) if entry.data else None
    origin = Origin(
        entry.place() if entry.data else Place(test.path),
        (*([own] if own else ()), (Place(test.path), test.data)),
    )
    found = list(excluded_arguments.kept_lists(origin, _excluded(data), given))
    axes = sweep.axes(arguments, env, num_nodes)
    found += _sweep_size(entry, axes, origin)
    limit = _time_limit(entry)
    srun_args, problems = _srun_args(entry)
    found += problems
    if _has_error(found):
        return None, found
    definition = {key: _plain(value) for key, value in data.items()}
    definition["cmd_args"] = {key: value for key, value in arguments.items() if value is not None}
    return Entry(
        id=cast("str", entry.id),
        index=entry.index,
        test_name=cast("str", data["name"]),
        description=cast("str", data["description"]),
        template=cast("str", test.template),
        cases=_cases(arguments, env, num_nodes, axes),
        extra_cmd_args=cast("Mapping[str, str]", data.get("extra_cmd_args", {})),
        extra_container_mounts=tuple(cast("list[str]", data.get("extra_container_mounts", ()))),
        nodes=_specs(entry, "nodes"),
        exclude_nodes=_specs(entry, "exclude_nodes"),
        iterations=cast("int", entry.data.get("iterations", 1)),
        time_limit_s=limit,
        dependencies=tuple(
            Dependency(one.type, one.id, entry.place("dependencies", one.number))
            for one in entry.dependencies
        ),
        place=origin.entry,
        test_file=test.path,
        origin=origin,
        definition=definition,
        extra_srun_args=srun_args,
    ), found


def _srun_args(entry: RawEntry) -> tuple[tuple[str, ...], list[Diagnostic]]:
    text = str(entry.data.get("extra_srun_args", ""))
    try:
        return tuple(shlex.split(text)), []
    except ValueError as error:
        problem = finding(
            "bad-srun-args",
            f"extra_srun_args = {text!r} cannot be split into words: {error}",
            entry.place("extra_srun_args"),
        )
        return (), [problem]


@cache
def _overrides(schema: str) -> frozenset[str]:
    """Returns the keys of an entry that belong to its test."""
    return frozenset(properties(_SCHEMA, _ENTRY)) & frozenset(properties(schema))


@cache
def _defaults(schema: str) -> dict[str, object]:
    """Returns all arguments in the schema's order with their defaults, None where there is none."""
    return {name: known.get("default") for name, known in properties(schema, _ARGUMENTS).items()}


def _excluded(data: Table) -> list[str]:
    value = data.get("dse_excluded_args", [])
    return [value] if isinstance(value, str) else cast("list[str]", value)


def _sweep_size(entry: RawEntry, axes: Sequence[sweep.Axis], origin: Origin) -> list[Diagnostic]:
    points = sweep.size(axes)
    if points <= sweep.WARN_POINTS:
        return []
    what = " x ".join(f"{len(axis.values)} {axis.key}" for axis in axes)
    text = f"{entry.label} sweeps {points:,} points ({what})"
    if points > sweep.MAX_POINTS:
        return [finding("sweep-too-large", f"{text}; {sweep.MAX_POINTS:,} are possible", origin.entry)]
    return [finding("sweep-large", text, origin.entry)]


def _too_many_runs(file: Path, entries: Sequence[Entry]) -> list[Diagnostic]:
    runs = sum(len(entry.cases) * entry.iterations for entry in entries)
    if runs <= sweep.MAX_RUNS:
        return []
    largest = max(entries, key=lambda entry: len(entry.cases) * entry.iterations)
    text = f"{plural(runs, 'run')} in all; {sweep.MAX_RUNS:,} are possible ({largest.id} has the most)"
    return [finding("scenario-too-large", text, largest.place)]


def _time_limit(entry: RawEntry) -> int | None:
    text = entry.data.get("time_limit")
    parsed = parse_time_limit(text) if isinstance(text, str) else None
    return None if isinstance(parsed, Refused) else parsed


def _cases(
    arguments: Mapping[str, Any], env: Mapping[str, Any], num_nodes: object, axes: Sequence[sweep.Axis]
) -> tuple[Case, ...]:
    if not axes:
        return (Case(None, {}, Arguments(**arguments), env, cast("int | None", num_nodes)),)
    return tuple(
        _case(step, point, arguments, env, num_nodes)
        for step, point in enumerate(sweep.points(axes), start=1)
    )


def _case(
    step: int,
    point: Mapping[str, Any],
    arguments: Mapping[str, Any],
    env: Mapping[str, Any],
    num_nodes: object,
) -> Case:
    return Case(
        step,
        point,
        Arguments(**{name: point.get(f"cmd_args.{name}", value) for name, value in arguments.items()}),
        {name: point.get(f"extra_env_vars.{name}", value) for name, value in env.items()},
        cast("int | None", point.get("num_nodes", num_nodes)),
    )


def _specs(entry: RawEntry, key: str) -> tuple[NodeSpec, ...]:
    value = entry.data.get(key, ())
    if isinstance(value, str):
        return (NodeSpec(value, entry.place(key)),)
    return tuple(
        NodeSpec(item, entry.place(key, number)) for number, item in enumerate(cast("list[str]", value))
    )


def _plain(value: object) -> object:
    """Returns JSON data: dates and infinite numbers (only in keys without effect) become text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return str(value)
    return value if isinstance(value, str | int | float | bool) else str(value)
