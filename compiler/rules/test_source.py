"""Which test an entry runs: one that exists, or one that it defines itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from compiler.diagnostics.codes import code_of, finding
from compiler.diagnostics.model import Diagnostic, Place, Severity
from compiler.diagnostics.wording import listing, nearest, plural, value_text
from compiler.rules.model import RawScenario
from compiler.scenario.raw import RawEntry
from compiler.schema.store import templates

OTHER_WORKLOADS = frozenset(
    {
        "AIDynamo", "Aiconfigurator", "BashCmd", "ChakraReplay", "DDLBTest", "DeepEP", "DynamoMocker", "Fio",
        "JaxToolboxGPT", "JaxToolboxGrok", "JaxToolboxNemotron", "MegatronBridge", "MegatronRun",
        "MoEBenchmark", "NIXLBench", "NIXLKVBench", "NcclTest", "NeMoLauncher", "NeMoRun", "NixlEP",
        "NixlPerftest", "OSUBench", "Sleep", "SlurmContainer", "TritonInference", "UCCTest", "sglang", "vllm",
    }
)  # fmt: skip
"""CloudAI's workloads that have no schema here (NVIDIA/cloudai src/cloudai/registration.py @ 5b5c0f7)."""

_DEFINITION = ("test_template_name", "name", "description", "cmd_args")


def exactly_one(scenario: RawScenario) -> Iterator[Diagnostic]:
    """An entry without test_name has all keys of a definition."""
    for entry in scenario.entries:
        if "test_name" in entry.data:
            continue
        missing = [key for key in _DEFINITION if key not in entry.data]
        if not missing:
            continue
        if len(missing) == len(_DEFINITION):
            known = list(scenario.catalog.tests)
            example = f" = {value_text(known[0])}" if len(known) == 1 else ""
            text = f"{entry.label} does not say which test it runs"
            yield finding(
                "test-source",
                text,
                entry.place(),
                fix=f"add test_name{example}, or define a test: {listing(_DEFINITION, 'and')}",
            )
        else:
            text = (
                f"{entry.label} has neither test_name nor a complete test: it lacks {listing(missing, 'and')}"
            )
            yield finding(
                "test-source", text, entry.place(), fix=f"add {listing(missing, 'and')}, or test_name"
            )


def exists(scenario: RawScenario) -> Iterator[Diagnostic]:
    """test_name is the name of a test of the tests folder; the template of a definition is known."""
    catalog = scenario.catalog
    for entry in scenario.entries:
        name = entry.test_name
        if name is None:
            if (
                "test_name" not in entry.data
                and entry.template is not None
                and entry.template not in templates()
            ):
                yield unknown_template_at(entry.place("test_template_name"), entry.template)
        elif name not in catalog.tests:
            if not name or catalog.may_define(name):
                continue  # reported by the schema, or where its file could not be read
            known = list(catalog.tests)
            meant = nearest(name, known)
            fix = (
                f"write test_name = {value_text(meant)}"
                if meant
                else f"the tests are {listing(known, 'and')}"
            )
            yield finding(
                "unknown-test-name",
                f"there is no test {value_text(name)} among {plural(len(known), 'test')}",
                entry.place("test_name"),
                fix=fix
                if known
                else "give the folder of the tests with --tests-dir, or put it beside the scenario as tests/",
            )
        else:
            test = catalog.tests[name][0]
            if test.template is not None and not test.known:
                yield unknown_template_at(
                    entry.place("test_name"), test.template, f"{value_text(name)} ({test.path}) has "
                )


def template_kept(scenario: RawScenario) -> Iterator[Diagnostic]:
    """An override does not change what kind of test it is."""
    for entry in scenario.entries:
        files = scenario.catalog.tests.get(entry.test_name or "", ())
        if entry.template is None or not files or files[0].template in (None, entry.template):
            continue
        test = f"the test {value_text(entry.test_name)} is a {files[0].template}"
        text = f"test_template_name = {value_text(entry.template)}, but {test}"
        yield finding("template-changed", text, entry.place("test_template_name"))


def foreign(scenario: RawScenario, entry: RawEntry) -> bool:
    """Tells whether an entry runs another workload: nothing but its name, id and dependencies is checked."""
    template = entry.template
    if entry.test_name is not None:
        files = scenario.catalog.tests.get(entry.test_name, ())
        template = files[0].template if files else None
    return template is not None and template not in templates() and _slip(template, templates()) is None


def unknown_template_at(place: Place, template: str, whose: str = "") -> Diagnostic:
    """Makes the finding for a workload that has no schema.

    A slip of the pen is an error. Another workload is a warning: its file may be right, it is not checked;
    to run it is an error (:func:`as_error`).
    """
    known = templates()
    meant = _slip(template, known)
    if meant is None:
        return finding(
            "unknown-template",
            f"{whose}test_template_name = {value_text(template)}: not checked, this version knows "
            f"{listing(map(value_text, known))}",
            place,
            fix="nothing to do, where another tool runs it",
            severity=Severity.WARNING,
        )
    return finding(
        "unknown-template",
        f"{whose}test_template_name = {value_text(template)}: known are {listing(map(value_text, known))}",
        place,
        fix=f"write test_template_name = {value_text(meant)}",
    )


def as_error(one: Diagnostic) -> Diagnostic:
    """Returns the finding as it counts where the scenario is to be run: what is not known cannot be."""
    unknown = code_of("unknown-template")
    return replace(one, severity=Severity.ERROR) if unknown and one.code == unknown.code else one


def _slip(template: str, known: Sequence[str]) -> str | None:
    """Returns the template that was probably meant; not for the name of another workload of CloudAI."""
    if template in OTHER_WORKLOADS or len(template) > 200:
        return None
    from difflib import get_close_matches  # slow to import, and needed for findings only

    folded = {name.casefold(): name for name in known}
    close = get_close_matches(template.strip().casefold(), list(folded), n=1, cutoff=0.8)
    return folded[close[0]] if close else None
