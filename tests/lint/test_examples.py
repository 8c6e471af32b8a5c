"""Every example of the documentation does what it says: the bad one is found where it is marked."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.diagnostics.codes import CODES, code_of
from compiler.diagnostics.model import Severity
from compiler.diagnostics.story import examples
from tests.lint import pieces

SHOWN = [slug for slug, example in examples().items() if "said" not in example.bad]

TOLD_ELSEWHERE = {
    "unreadable-file": "tests/document/test_read.py",
    "not-utf8": "tests/document/test_read.py",
    "schema-violation": "tests/schema/test_findings.py",
    "file-skipped": "tests/lint/test_lint.py",
    "duplicate-test-name": "tests/rules/test_scenario_rules.py",
    "unused-test": "tests/lint/test_lint.py",
    "system-unclear": "tests/lint/test_lint.py",
    "env-too-long": "tests/rules/test_test_rules.py",
    "not-implemented-yet": "tests/plan/test_show.py",
    "foreign-folder": "tests/emit/test_bundle.py",
    "inventory-unreadable": "tests/inventory/test_load.py",
    "inventory-empty": "tests/inventory/test_load.py",
    "host-barred": "tests/inventory/test_nodes.py",
    "hook-not-possible": "tests/cases/tables/model.toml",
    "selftest-impossible": "tests/preflight",
    "slurm-not-asked": "tests/slurm/test_online.py",
    "online-without-slurm": "tests/slurm/test_online.py",
    "slurm-partition": "tests/slurm/test_online.py",
    "slurm-time-limit": "tests/slurm/test_online.py",
    "slurm-nodes": "tests/slurm/test_online.py",
    "slurm-gpus": "tests/slurm/test_online.py",
    "slurm-node-down": "tests/slurm/test_online.py",
}
"""What no text can show, and the file whose tests show it."""


def test_every_code_has_examples() -> None:
    assert set(examples()) == {code.slug for code in CODES}
    assert {slug for slug, example in examples().items() if "said" in example.bad} == set(TOLD_ELSEWHERE)


@pytest.mark.parametrize("slug", SHOWN)
def test_bad_example_is_found_where_it_is_marked(slug: str, tmp_path: Path) -> None:
    code = code_of(slug)
    assert code is not None
    found, rows, marks = pieces.run(tmp_path, examples()[slug].bad)
    of_code = [row[1:] for row in rows if row[0] == code.code]
    assert of_code == ([mark[1:] for mark in marks] or [("", None, None)]), [one.message for one in found]
    assert all(one.severity is code.severity for one in found if one.code == code.code)
    assert all(one.message and one.why and one.fix for one in found)


@pytest.mark.parametrize("slug", SHOWN)
def test_good_example_is_clean(slug: str, tmp_path: Path) -> None:
    code = code_of(slug)
    assert code is not None
    found, rows, _ = pieces.run(tmp_path, examples()[slug].good)
    assert code.code not in [row[0] for row in rows]
    assert not [one.message for one in found if one.severity is Severity.ERROR]
