"""A whole tree: its summary, and every file that carries it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from deepep_host.judge import NotAResultTreeError, judge_session, render_table

from tests.judge.tree import change_json, make_run, make_session, make_state, result_dir, write, write_tree

SCHEMAS = Path(__file__).parents[2] / "schemas"


def _schema(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A tree with one run of every verdict."""
    runs = [
        make_run("Good/0"),
        make_run("Bad/0/1", sweep={"cmd_args.tokens": 128, "extra_env_vars.X": "=cmd|' /C calc'!A0"}),
        make_run("Slow/0"),
        make_run("Odd/0"),
        make_run("Image/0", program="image", backend="deepep"),
        make_run("Never/0", after=[{"type": "start_post_comp", "run": "Bad/0/1"}]),
        make_run("Lost/0"),
    ]
    write_tree(tmp_path, runs)
    write(
        tmp_path / "Bad/0/1/logs/node2.stderr.txt",
        "Traceback (most recent call last):\nValueError: \x1b[31m\x0b<&\n",
    )
    write(tmp_path / "Slow/0/logs/node1.state.json", make_state(runs[2], "node1", outcome="timeout"))
    change_json(
        tmp_path / "Odd/0" / result_dir(runs[3]) / "results.json", lambda r: r[0].update(num_tokens=1)
    )
    for name in ("Never/0", "Lost/0"):
        _remove_tree(tmp_path / name)
    return tmp_path


def _remove_tree(path: Path) -> None:
    for file in sorted(path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    path.rmdir()


def test_counts_and_verdicts(mixed: Path) -> None:
    summary = judge_session(mixed)
    assert {run["run"]: run["verdict"] for run in summary["runs"]} == {
        "Good/0": "PASS",
        "Bad/0/1": "FAIL",
        "Slow/0": "TIMEOUT",
        "Odd/0": "INVALID",
        "Image/0": "UNVERIFIED",
        "Never/0": "NOT_RUN",
        "Lost/0": "NOT_RUN",
    }
    assert summary["counts"] == {
        "PASS": 1,
        "FAIL": 1,
        "TIMEOUT": 1,
        "INVALID": 1,
        "UNVERIFIED": 1,
        "NOT_RUN": 2,
    }
    assert summary["passed"] is False
    assert summary["stand_in"] is True
    assert [machine["hosts"] for machine in summary["one_machine"]] == [["node1", "node2"]]


def test_a_tree_in_which_all_is_well_passes(tmp_path: Path) -> None:
    assert judge_session(write_tree(tmp_path, [make_run("A/0"), make_run("B/0")]))["passed"] is True


def test_a_tree_without_runs_does_not_pass(tmp_path: Path) -> None:
    assert judge_session(write_tree(tmp_path, []))["passed"] is False
    assert ElementTree.parse(tmp_path / "junit.xml").find(".//error") is not None  # noqa: S314 - our own file


def test_a_session_in_which_nothing_ran_does_not_pass(tmp_path: Path) -> None:
    write_tree(tmp_path, [make_run()])
    _remove_tree(tmp_path / "Tests.1/0")
    summary = judge_session(tmp_path)
    assert (summary["passed"], summary["counts"]["NOT_RUN"]) == (False, 1)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "no plan.json"),
        ("{", "cannot be read"),
        ("[]", "holds no object"),
        ("{}", "no list of runs"),
        ('{"runs": [{"id": "../../etc"}], "scenario": {"name": "x"}}', "no list of runs"),
        ('{"runs": [{"id": "a//b"}], "scenario": {"name": "x"}}', "no list of runs"),
        ('{"runs": [{"id": "a"}], "scenario": {"name": "x"}}', "run a: entry is missing"),
        ('{"runs": [], "scenario": {"name": ".."}}', "names no scenario"),
    ],
)
def test_what_is_no_result_tree_is_said(tmp_path: Path, content: str | None, text: str) -> None:
    if content is not None:
        write(tmp_path / "plan.json", content)
    with pytest.raises(NotAResultTreeError, match=text):
        judge_session(tmp_path)


def test_summary_and_session_fit_their_schemas(mixed: Path) -> None:
    judge_session(mixed)
    summary = json.loads((mixed / "summary.json").read_text())
    _schema("summary").validate(summary)
    _schema("run").validate(make_session())
    _schema("run").validate(make_session("running"))
    for run in summary["runs"]:
        assert json.loads((mixed / run["run"] / "verdict.json").read_text()) == run


def test_the_summary_schema_documents_every_key(mixed: Path) -> None:
    def undocumented(node: Any, path: str = "") -> list[str]:
        if not isinstance(node, dict):
            return []
        missing = [
            f"{path}/{key}"
            for key, value in node.get("properties", {}).items()
            if "$ref" not in value and not (value.get("title") and value.get("description"))
        ]
        children = [*node.get("properties", {}).items(), *node.get("$defs", {}).items()]
        return missing + [found for key, value in children for found in undocumented(value, f"{path}/{key}")]

    for name in ("summary", "run"):
        assert undocumented(json.loads((SCHEMAS / f"{name}.schema.json").read_text())) == []


def test_junit_has_a_case_per_run_and_operation(mixed: Path) -> None:
    judge_session(mixed)
    root = ElementTree.parse(mixed / "junit.xml").getroot()  # noqa: S314 - our own file
    found = {}
    for case in root.iter("testcase"):
        kinds = [child.tag for child in case if child.tag != "properties"]
        found.setdefault(case.get("classname"), []).append((case.get("name"), *kinds))
    assert found["Good/0"] == [("dispatch",), ("combine",)]
    assert found["Bad/0/1"] == [("dispatch", "failure"), ("combine", "failure")]
    assert found["Slow/0"] == [("dispatch", "failure"), ("combine", "failure")]
    assert found["Odd/0"] == [("dispatch", "failure"), ("combine", "failure")]
    assert found["Image/0"] == [("dispatch", "skipped"), ("combine", "skipped")]
    assert found["Never/0"] == [("dispatch", "skipped"), ("combine", "skipped")]
    assert found["Lost/0"] == [("dispatch", "error"), ("combine", "error")]
    counted = {key: int(root.get(key, "")) for key in ("tests", "failures", "errors", "skipped")}
    assert counted == {"tests": 14, "failures": 6, "errors": 2, "skipped": 4}


def test_csv_has_a_line_per_run_and_operation(mixed: Path) -> None:
    judge_session(mixed)
    rows = list(csv.DictReader(io.StringIO((mixed / "summary.csv").read_text())))
    good = [row for row in rows if row["run"] == "Good/0"]
    assert [row["operation"] for row in good] == ["dispatch", "combine"]
    assert float(good[0]["global_bw_gb_s"]) == pytest.approx(10.0)
    assert float(good[0]["deepep_time_s"]) == pytest.approx(0.004)
    assert good[0]["simple_nvl_bw_gb_s"] == ""
    assert good[0]["stand_in"] == "true"
    (never,) = [row for row in rows if row["run"] == "Never/0"]
    assert (never["operation"], never["verdict"]) == ("", "NOT_RUN")
    assert not [cell for row in rows for cell in row.values() if cell[:1] in ("=", "+", "@")]


def test_the_manifest_names_every_file_with_its_sum(mixed: Path) -> None:
    judge_session(mixed)
    files = json.loads((mixed / "manifest.json").read_text())["files"]
    there = {str(p.relative_to(mixed)) for p in mixed.rglob("*") if p.is_file()} - {"manifest.json"}
    assert set(files) == there
    for name, digest in files.items():
        assert digest == hashlib.sha256((mixed / name).read_bytes()).hexdigest()


def test_the_manifest_leaves_out_what_still_grows(tmp_path: Path) -> None:
    judge_session(write_tree(tmp_path, [make_run()], status="running"))
    files = json.loads((tmp_path / "manifest.json").read_text())["files"]
    assert "events.jsonl" not in files
    assert "run.json" not in files
    assert "summary.json" in files


class TestTable:
    def test_says_what_a_reader_needs(self, mixed: Path) -> None:
        text = render_table(judge_session(mixed), 100)
        assert "Good/0" in text and "10.00 GB/s" in text and "4.00 ms" in text
        assert "ValueError" in text and "[Bad/0/1/logs/node2.stderr.txt:1]" in text
        assert "these are not DeepEP's figures" in text
        assert "node1, node2 are one physical machine" in text
        assert "num_iterations 50" in text
        assert "7 runs: 1 PASS, 1 FAIL, 1 TIMEOUT, 1 INVALID, 1 UNVERIFIED, 2 NOT_RUN" in text

    def test_shows_no_figure_of_a_run_that_failed(self, tmp_path: Path) -> None:
        run = make_run()
        write_tree(tmp_path, [run])
        write(tmp_path / "Tests.1/0/logs/node1.state.json", make_state(run, "node1", exit_code=1))
        assert "GB/s" not in render_table(judge_session(tmp_path), 100)

    @pytest.mark.parametrize("width", [60, 80, 200])
    def test_reasons_keep_to_the_width(self, mixed: Path, width: int) -> None:
        lines = render_table(judge_session(mixed), width).splitlines()
        prose = [line for line in lines if line.startswith("    ") and "GB/s" not in line]
        assert prose
        assert max(map(len, prose)) <= width

    def test_has_no_control_characters(self, mixed: Path) -> None:
        assert all(c == "\n" or c.isprintable() for c in render_table(judge_session(mixed), 100))

    def test_nothing_ran(self, tmp_path: Path) -> None:
        assert "no pass" in render_table(judge_session(write_tree(tmp_path, [])), 80)


def test_host_code_runs_on_the_oldest_python(tmp_path: Path) -> None:
    """Where an interpreter 3.8 to 3.10 is installed it judges a tree; syntax is checked in any case."""
    import ast
    import shutil

    from compiler.resources import host_code

    for path in sorted((host_code() / "deepep_host" / "judge").rglob("*.py")):
        ast.parse(path.read_text(), feature_version=(3, 8))
    write_tree(tmp_path, [make_run()])
    code = (
        f"import sys; sys.path.insert(0, {str(host_code())!r})\nfrom deepep_host.judge import judge_session\n"
    )
    code += f"print(judge_session({str(tmp_path)!r})['passed'])"
    for name in ("python3.8", "python3.9", "python3.10", "python3"):
        python = shutil.which(name)
        done = python and subprocess.run([python, "-c", code], capture_output=True, text=True)
        if done and "pyenv:" not in done.stderr:
            assert done.stdout.strip() == "True", done.stderr
            break
    else:
        pytest.fail("no python3 at all")
