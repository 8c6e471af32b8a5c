"""Output for programs: SARIF that its schema accepts, GitHub's commands, JSON; and what is hidden in text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from compiler.cli.main import run
from tests.conftest import REPO

CASES = REPO / "tests" / "cases"
SCHEMA = json.loads((REPO / "tests/lint/sarif/sarif-schema-2.1.0.json").read_text(encoding="utf-8"))


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    run(["lint", *map(str, arguments)])
    return capsys.readouterr().out


def sarif(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    log: dict[str, Any] = json.loads(shown(capsys, *arguments, "--format", "sarif"))
    jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(log)
    return log


@pytest.mark.parametrize("name", sorted(path.parent.name for path in CASES.glob("*/case.json")))
def test_sarif_of_every_case_is_valid(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    log = sarif(capsys, CASES / name)
    run_ = log["runs"][0]
    rules = [rule["id"] for rule in run_["tool"]["driver"]["rules"]]
    found = json.loads(shown(capsys, CASES / name, "--format", "json"))["diagnostics"]
    assert len(found) == len(run_["results"])
    for result, one in zip(run_["results"], found, strict=True):
        assert rules[result["ruleIndex"]] == result["ruleId"] == one["code"]
        region = result["locations"][0]["physicalLocation"]["region"]
        keys = ("startLine", "startColumn", "endLine", "endColumn")
        assert [region[key] for key in keys] == [
            one[key] for key in ("line", "column", "end_line", "end_column")
        ]


def test_sarif_without_findings_is_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.toml").write_text("[other]\n", encoding="utf-8")
    log = sarif(capsys, tmp_path, "--ignore", "file-skipped")
    assert log["runs"][0]["results"] == []


def test_sarif_of_odd_file_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a b#c%ü.toml"
    path.write_text('test_template_name = "DeepEPBenchmark"\n', encoding="utf-8")
    results = sarif(capsys, path)["runs"][0]["results"]
    uri = results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri.startswith("file:///")
    assert uri.endswith("/a%20b%23c%25%C3%BC.toml")


def test_github_commands(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES)
    lines = shown(capsys, "07-topk-gt-experts", "--format", "github").splitlines()
    assert lines[1] == (
        "::error file=07-topk-gt-experts/tests/deepep.toml,line=10,col=12,endColumn=15,endLine=10,"
        "title=DEP302 topk-exceeds-experts::num_topk = 512 is larger than num_experts = 256"
        "%0Awhy: A token cannot choose more experts than there are."
        "%0Afix: use at most 256 for num_topk, or at least 512 for num_experts"
    )
    assert lines[0].startswith("::warning file=")


def test_infos_are_hidden_in_text_only(capsys: pytest.CaptureFixture[str]) -> None:
    folder = CASES / "00-valid"
    assert "info[" not in shown(capsys, folder)
    assert "2 infos not shown: --verbose" in shown(capsys, folder)
    assert "info[DEP382]" in shown(capsys, folder, "--verbose")
    assert '"info"' in shown(capsys, folder, "--format", "json")
    assert '"note"' in shown(capsys, folder, "--format", "sarif")


def test_output_is_the_same_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("text", "json", "sarif", "github"):
        first = shown(capsys, CASES, "--format", name)
        assert shown(capsys, CASES, "--format", name) == first
