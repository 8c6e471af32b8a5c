"""The rules' table and its data: complete, unique, and every example does what it says."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from compiler.diagnostics.codes import CODES
from compiler.diagnostics.model import Severity
from compiler.maintenance import kernel_rules
from compiler.resources import resource
from compiler.rules import kernels
from compiler.rules.kernels import check_run
from compiler.rules.kernels.limits import limits, releases, releases_for
from compiler.rules.kernels.model import Rule
from compiler.rules.kernels.registry import RULES
from compiler.scenario.model import Arguments
from tests.rules.kernels.build import facts_of

EVERY_RULE = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.slug)


@EVERY_RULE
def test_bad_example_is_found(rule: Rule) -> None:
    found = [finding for finding in check_run(facts_of(rule.bad)) if finding.code == rule.code]
    assert [finding.slug for finding in found] == [rule.slug]
    finding = found[0]
    assert finding.severity is rule.severity
    assert finding.message
    assert finding.why
    assert finding.fix


@EVERY_RULE
def test_good_example_is_clean(rule: Rule) -> None:
    found = check_run(facts_of(rule.good))
    assert rule.code not in {finding.code for finding in found}
    assert not [finding for finding in found if finding.severity is Severity.ERROR]


@EVERY_RULE
def test_finding_points_at_a_key_of_the_format(rule: Rule) -> None:
    finding = next(finding for finding in check_run(facts_of(rule.bad)) if finding.code == rule.code)
    table, *rest = finding.key
    if table == "cmd_args":
        assert rest[0] in Arguments.__slots__
    elif table == "extra_env_vars":
        assert rest[0] in rule.bad.env
    else:
        assert finding.key in (("num_nodes",), ("time_limit",))


def test_rules_and_data_belong_together() -> None:
    assert {rule.slug for rule in RULES} == set(limits())


def test_codes_and_slugs_are_unique() -> None:
    assert len({rule.code for rule in RULES}) == len(RULES)
    assert len({rule.slug for rule in RULES}) == len(RULES)
    assert [rule.code for rule in RULES] == sorted(rule.code for rule in RULES)


def test_codes_agree_with_the_registry_of_all_codes() -> None:
    """A code or a slug that the registry of all codes has too must be the same finding."""
    known = {(code.code, code.slug) for code in CODES}
    by_code, by_slug = dict(known), {slug: code for code, slug in known}
    for rule in RULES:
        assert by_code.get(rule.code, rule.slug) == rule.slug
        assert by_slug.get(rule.slug, rule.code) == rule.code


@EVERY_RULE
def test_every_source_is_a_line(rule: Rule) -> None:
    versions = {release.version for release in releases()}
    assert rule.limit.sources
    assert set(rule.limit.sources) <= versions
    assert set(rule.limit.value) <= versions
    for lines in rule.limit.sources.values():
        assert lines
        for line in lines:
            assert re.fullmatch(r"[\w./-]+\.(py|cu|cuh|hpp|cpp|md):\d+(-\d+)?", line), line
    for source in rule.limit.also:
        assert re.fullmatch(r"[\w-]+/[\w-]+(#\d+| [\w./-]+:\d+(-\d+)? @ [0-9a-f]{7})", source), source


def test_releases_for_a_version() -> None:
    def chosen(version: str | None) -> list[str]:
        return [release.version for release in releases_for(version)]

    assert chosen(None) == ["1.2.1", "2.1.0"]
    assert chosen("not a version") == ["1.2.1", "2.1.0"]
    assert chosen("1.2.1") == ["1.2.1"]
    assert chosen("v1.2.1+9af0e0d") == ["1.2.1"]
    assert chosen("1.0.0") == ["1.2.1"]
    assert chosen("0.9") == ["1.2.1"]
    assert chosen("2.0.0") == ["2.1.0"]
    assert chosen("2.1.0+local") == ["2.1.0"]
    assert chosen("3.0") == ["2.1.0"]


def test_data_files_are_part_of_the_package() -> None:
    for name in ("limits.toml", "elsewhere.toml"):
        assert files(kernels).joinpath(name).is_file()


def test_page_is_current() -> None:
    page = (resource("docs") / "rules-kernels.md").read_text(encoding="utf-8")
    assert page == kernel_rules.page(), "run make docs"


def test_page_has_every_rule() -> None:
    page = kernel_rules.page()
    for rule in RULES:
        assert f"\n| {rule.code} |" in page
        assert f"\n### {rule.code} {rule.slug}\n" in page
