"""``lint`` over files and folders, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from compiler.cli.main import run
from compiler.schema import store
from tests.conftest import REPO
from tests.scenario.builder import TEST, entry, load

SYSTEM = """name = "S"
scheduler = "slurm"
install_path = "i"
output_path = "o"
default_partition = "p"

[[partitions]]
name = "p"
[[partitions.groups]]
name = "g"
nodes = ["n[1-2]"]
"""

QUIET = "mutable-image-tag,not-as-published,elastic-automatic-sms"
"""Findings about images and kernels that other tests are about."""


def lint(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = run(["lint", *map(str, arguments)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def findings(
    capsys: pytest.CaptureFixture[str], *arguments: object
) -> list[tuple[str, str | None, int | None]]:
    _, out, _ = lint(capsys, *arguments, "--format", "json", "--ignore", QUIET)
    document = json.loads(out)
    jsonschema.validate(document, store.load("diagnostics"))
    return [
        (one["slug"], one["file"] and Path(one["file"]).name, one["line"]) for one in document["diagnostics"]
    ]


def test_examples_are_clean(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("deepep-benchmark", "test-in-scenario"):
        assert lint(capsys, REPO / "examples" / name, "--strict", "--ignore", "mutable-image-tag")[0] == 0


def test_a_single_test_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(tmp_path, entry(), "[cmd_args]\nnum_topk = 512\n")
    test = tmp_path / "tests" / "standard.toml"
    assert findings(capsys, test) == [("topk-exceeds-experts", "standard.toml", 5)]
    assert lint(capsys, test)[0] == 1


def test_warnings_count_with_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(tmp_path, entry("weight = 3"))
    assert lint(capsys, tmp_path)[0] == 0
    assert lint(capsys, tmp_path, "--strict")[0] == 1


def test_unused_tests_are_mentioned_in_a_folder_without_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = TEST.replace("standard", "other") + "[cmd_args]\n"
    load(tmp_path, entry(), other=other)
    assert findings(capsys, tmp_path) == [("unused-test", "other.toml", 1)]
    assert findings(capsys, tmp_path / "scenario.toml") == [("unused-test", "other.toml", 1)]
    load(tmp_path, entry(test="othr"))
    assert [slug for slug, _, _ in findings(capsys, tmp_path)] == ["unknown-test-name"]


def test_each_finding_comes_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(tmp_path, entry(), "[cmd_args]\ntokens = 0\n")
    (tmp_path / "second.toml").write_text(f'name = "second"\n{entry()}', encoding="utf-8")
    assert findings(capsys, tmp_path, tmp_path / "tests", tmp_path / "scenario.toml") == [
        ("out-of-range", "standard.toml", 5)
    ]


def test_a_system_toml_stands_in_for_an_inventory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(tmp_path, entry("nodes = 'p:g:4'"), "[cmd_args]\ndocker_image_url = 'r/i:t'\n")
    assert findings(capsys, tmp_path) == []
    (tmp_path / "system.toml").write_text(SYSTEM, encoding="utf-8")
    assert findings(capsys, tmp_path) == [("too-few-hosts", "scenario.toml", 6)]
    assert findings(capsys, tmp_path / "scenario.toml") == []
    (tmp_path / "another.toml").write_text(SYSTEM, encoding="utf-8")
    assert findings(capsys, tmp_path) == [("system-unclear", "scenario.toml", 1)]


def test_system_files_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "system.toml"
    path.write_text(SYSTEM.replace("slurm", "kubernetes") + "gpus = 8\n", encoding="utf-8")
    assert findings(capsys, path) == [("bad-value", "system.toml", 2)]
    path.write_text(SYSTEM.replace("slurm", "slrum") + "gpus = 8\n", encoding="utf-8")
    assert findings(capsys, path) == [("bad-value", "system.toml", 2), ("unknown-key", "system.toml", 12)]
    path.write_text(SYSTEM.replace('default_partition = "p"\n', "monitor_interval = 5\n"), encoding="utf-8")
    assert findings(capsys, path) == [("missing-key", "system.toml", 1)]


def test_files_of_unknown_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.toml"
    path.write_text('name = "x"\n[[Test]]\nid = "A"\n', encoding="utf-8")
    assert findings(capsys, path) == [("unknown-file-kind", "x.toml", 2)]
    assert findings(capsys, tmp_path) == [("unknown-file-kind", "x.toml", 2)]
    path.write_text("[tool.other]\nx = 1\n", encoding="utf-8")
    assert findings(capsys, path) == [("unknown-file-kind", "x.toml", 1)]
    assert findings(capsys, tmp_path) == [("file-skipped", "x.toml", 1)]
    path.write_text("", encoding="utf-8")
    assert findings(capsys, path) == [("unknown-file-kind", "x.toml", None)]


def test_a_test_of_another_workload(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nccl.toml"
    path.write_text(TEST.replace("DeepEPBenchmark", "NcclTest") + "[cmd_args]\nx = 1\n", encoding="utf-8")
    assert findings(capsys, path) == [("unknown-template", "nccl.toml", 3)]
    assert [slug for slug, _, _ in findings(capsys, tmp_path)] == ["file-skipped"]


def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lint(capsys, tmp_path / "none")[0] == 2
    code, _, error = lint(capsys, tmp_path)
    assert (code, "there is no TOML file" in error) == (2, True)
    load(tmp_path, entry())
    assert lint(capsys, tmp_path, "--tests-dir", tmp_path / "none")[0] == 2
    with pytest.raises(SystemExit) as stopped:
        run(["lint"])
    assert stopped.value.code == 2


def test_hostile_files_in_a_folder_are_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(tmp_path, entry())
    (tmp_path / "tests" / "folder.toml").mkdir()
    (tmp_path / "tests" / "loop.toml").symlink_to("loop.toml")
    (tmp_path / "tests" / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "tests" / "deep.toml").write_text("x = " + "[" * 9999, encoding="utf-8")
    found = findings(capsys, tmp_path)
    assert sorted(found) == [
        ("file-limits", "deep.toml", 1),
        ("not-utf8", "bytes.toml", 1),
        ("unreadable-file", "folder.toml", None),
        ("unreadable-file", "loop.toml", None),
    ]


def test_schema_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    assert "scenario" in capsys.readouterr().out.split()
    assert run(["schema", "scenario"]) == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))
    assert run(["schema", "scenari"]) == 2
    assert "did you mean scenario?" in capsys.readouterr().err
