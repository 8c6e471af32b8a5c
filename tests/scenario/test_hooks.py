"""Hook scenarios: found by name, resolved with their own tests, refused where they cannot be hooks."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.diagnostics.model import Severity
from compiler.scenario.load import load_scenario
from tests.scenario.builder import TEST, Loaded, Row, entry, load

HOOK = f'name = "warm-up"\n{entry(test="quick")}'
QUICK = TEST.replace('"standard"', '"quick"') + "[cmd_args]\ntokens = 8\n"


def with_hook(
    folder: Path, hook: str = HOOK, keys: str = 'pre_test = "warm-up"\n', test: str = QUICK
) -> Loaded:
    """Loads a scenario with these keys beside a hook folder."""
    (folder / "hook" / "test").mkdir(parents=True, exist_ok=True)
    (folder / "hook" / "warm-up.toml").write_text(hook, encoding="utf-8")
    (folder / "hook" / "test" / "quick.toml").write_text(test, encoding="utf-8")
    return load(folder, keys + entry())


def test_a_hook_is_found_beside_the_scenario_and_has_its_own_tests(tmp_path: Path) -> None:
    loaded = with_hook(tmp_path, keys='pre_test = "warm-up"\npost_test = "warm-up"\n')
    assert loaded.slugs == []
    assert [one.test_name for one in loaded.ok.pre_test] == ["quick"]
    assert loaded.ok.pre_test == loaded.ok.post_test
    assert loaded.ok.pre_test[0].cases[0].arguments.tokens == 8


def test_the_tests_of_the_scenario_are_not_the_hooks(tmp_path: Path) -> None:
    loaded = with_hook(tmp_path, HOOK.replace("quick", "standard"))
    assert loaded.rows == [("unknown-test-name", "warm-up.toml", 4, 13)]


def test_a_hook_folder_some_levels_up_or_named_is_found(tmp_path: Path) -> None:
    with_hook(tmp_path)
    deep = tmp_path / "common" / "test_scenario"
    deep.mkdir(parents=True)
    (tmp_path / "scenario.toml").rename(deep / "scenario.toml")
    assert load_scenario(deep / "scenario.toml", tmp_path / "tests")[0] is not None
    (tmp_path / "hook").rename(tmp_path / "elsewhere")
    assert load_scenario(deep / "scenario.toml", tmp_path / "tests")[0] is None
    found, _ = load_scenario(deep / "scenario.toml", tmp_path / "tests", tmp_path / "elsewhere")
    assert found is not None
    assert found.pre_test


def test_no_hook_of_that_name(tmp_path: Path) -> None:
    loaded = with_hook(tmp_path, keys='pre_test = "warmup"\n')
    assert loaded.rows == [("unknown-hook", "scenario.toml", 2, 12)]
    assert loaded.diagnostics[0].fix == 'write "warm-up"'
    assert loaded.scenario is None


def test_no_hook_folder(tmp_path: Path) -> None:
    loaded = load(tmp_path, 'post_test = "x"\n' + entry())
    assert loaded.rows == [("unknown-hook", "scenario.toml", 2, 13)]
    assert "no hook folder" in loaded.diagnostics[0].message


def test_two_hooks_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "other.toml").write_text(HOOK)
    loaded = with_hook(tmp_path)
    assert loaded.slugs == ["unknown-hook"]
    assert "other.toml" in loaded.diagnostics[0].message


def test_other_workloads_are_refused_where_they_are_to_be_run(tmp_path: Path) -> None:
    """CloudAI's own hook is a NcclTest."""
    loaded = with_hook(tmp_path, test=QUICK.replace("DeepEPBenchmark", "NcclTest"))
    assert "unknown-template" in loaded.slugs
    assert loaded.scenario is None
    assert all(one.severity is not Severity.ERROR for one in loaded.diagnostics)  # for lint; run makes it one


@pytest.mark.parametrize(
    ("lines", "row"),
    [
        ("iterations = 2", ("hook-not-possible", "warm-up.toml", 6, 1)),
        ('nodes = ["n1"]', ("hook-not-possible", "warm-up.toml", 6, 1)),
        ('[[Tests.dependencies]]\ntype = "start_post_comp"\nid = "B"',
         ("hook-not-possible", "warm-up.toml", 6, 9)),
        ("cmd_args.tokens = [8, 16]", ("hook-not-possible", "warm-up.toml", 2, 1)),
        ("num_nodes = [1, 2]", ("hook-not-possible", "warm-up.toml", 2, 1)),
    ],
)  # fmt: skip
def test_what_a_hook_cannot_have(tmp_path: Path, lines: str, row: Row) -> None:
    hook = f'name = "warm-up"\n{entry(lines, test="quick")}{entry(id="B", test="quick")}'
    loaded = with_hook(tmp_path, hook)
    assert row in loaded.rows
    assert loaded.scenario is None


def test_a_hook_has_no_hooks(tmp_path: Path) -> None:
    loaded = with_hook(tmp_path, HOOK.replace("\n", '\npre_test = "warm-up"\n', 1))
    assert loaded.rows == [("hook-not-possible", "warm-up.toml", 2, 1)]
