"""Rules across the entries of a scenario, through the real entry point: slug, file, line, column."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenario.builder import TEST, Row, entry, load


def depends(kind: str, other: str) -> str:
    return f"[[Tests.dependencies]]\ntype = '{kind}'\nid = '{other}'\n"


def test_duplicate_ids(tmp_path: Path) -> None:
    loaded = load(tmp_path, entry() + entry() + entry(id="a"))
    assert loaded.rows == [("duplicate-id", "scenario.toml", 8, 6), ("duplicate-id", "scenario.toml", 13, 6)]
    assert "differs only in case" in loaded.diagnostics[1].message


@pytest.mark.parametrize("name", ["summary.json", "JUNIT.xml", "s.html", "plan.json", "earlier"])
def test_reserved_ids(tmp_path: Path, name: str) -> None:
    assert load(tmp_path, entry(id=name)).rows == [("reserved-id", "scenario.toml", 3, 6)]


def test_duplicate_test_names_name_both_files(tmp_path: Path) -> None:
    loaded = load(tmp_path, entry(), copy=TEST + "[cmd_args]\n")
    assert loaded.rows == [
        ("duplicate-test-name", "copy.toml", 1, 8),
        ("duplicate-test-name", "standard.toml", 1, 8),
    ]
    assert "standard.toml" in loaded.diagnostics[0].message
    assert "copy.toml" in loaded.diagnostics[1].message


def test_unknown_test_name_suggests_the_nearest(tmp_path: Path) -> None:
    loaded = load(tmp_path, entry(test="standrad"))
    assert loaded.rows == [("unknown-test-name", "scenario.toml", 4, 13)]
    assert loaded.diagnostics[0].fix == 'write test_name = "standard"'


@pytest.mark.parametrize(
    ("lines", "rows"),
    [
        (depends("start_post_comp", "Z"), [("unknown-dependency", "scenario.toml", 8, 6)]),
        (depends("end_post_comp", "A"), [("self-dependency", "scenario.toml", 8, 6)]),
    ],
)
def test_dependencies_on_nothing(tmp_path: Path, lines: str, rows: list[Row]) -> None:
    assert load(tmp_path, entry(lines)).rows == rows


def test_the_same_dependency_twice(tmp_path: Path) -> None:
    twice = depends("start_post_comp", "A") * 2
    assert load(tmp_path, entry() + entry(twice, id="B")).rows == [
        ("duplicate-dependency", "scenario.toml", 14, 1)
    ]


@pytest.mark.parametrize(
    ("first", "second", "cycle"),
    [
        ("start_post_comp", "start_post_comp", True),
        ("start_post_init", "start_post_init", True),
        ("end_post_comp", "end_post_comp", True),
        ("start_post_comp", "end_post_comp", True),
        ("start_post_comp", "start_post_init", True),
        ("start_post_init", "end_post_comp", False),  # a server and its client
    ],
)
def test_cycles_through_all_types(tmp_path: Path, first: str, second: str, cycle: bool) -> None:
    loaded = load(tmp_path, entry(depends(first, "B")) + entry(depends(second, "A"), id="B"))
    assert loaded.slugs == (["dependency-cycle"] if cycle else [])
    if cycle:
        assert "A -> B -> A" in loaded.diagnostics[0].message
        assert loaded.rows[0][1:] == ("scenario.toml", 8, 6)


def test_a_long_chain_is_no_cycle_and_a_long_cycle_is_one(tmp_path: Path) -> None:
    chain = [entry(id="E0")]
    chain += [
        entry(depends("start_post_comp", f"E{number - 1}"), id=f"E{number}") for number in range(1, 3000)
    ]
    assert load(tmp_path, "".join(chain)).slugs == []
    chain[0] = entry(depends("start_post_comp", "E2999"), id="E0")
    assert load(tmp_path, "".join(chain)).slugs == ["dependency-cycle"]


def test_two_cycles_are_two_findings(tmp_path: Path) -> None:
    pairs = [("A", "B"), ("B", "A"), ("C", "D"), ("D", "C")]
    text = "".join(entry(depends("start_post_comp", other), id=name) for name, other in pairs)
    assert load(tmp_path, text).slugs == ["dependency-cycle", "dependency-cycle"]


def test_time_limits(tmp_path: Path) -> None:
    text = (
        entry() + '[[Tests]]\nid = "B"\ntest_name = "standard"\n[[Tests]]\nid = "C"\ntest_name = "standard"\n'
    )
    loaded = load(tmp_path, text.replace('"00:30:00"', '"12:30"'))
    assert loaded.rows == [
        ("ambiguous-time-limit", "scenario.toml", 5, 14),
        ("missing-time-limit", "scenario.toml", 7, 1),
    ]
    assert "2 entries" in loaded.diagnostics[1].message
    assert load(tmp_path, text).ok.entries[1].time_limit_s is None


@pytest.mark.parametrize(
    ("text", "slug", "column"),
    [
        ('[[Tests]]\nid = "A"\ntime_limit = "30"\n', "test-source", 1),
        ('[[Tests]]\nid = "A"\ntime_limit = "30"\nname = "x"\n', "test-source", 1),
        (entry("test_template_name = 'NcclTest'"), "template-changed", 22),
        (
            '[[Tests]]\nid = "A"\ntime_limit = "30"\nname = "x"\ndescription = ""\n'
            'test_template_name = "DeepEP"\ncmd_args = {}\n',
            "unknown-template",
            22,
        ),
    ],
)
def test_which_test_an_entry_runs(tmp_path: Path, text: str, slug: str, column: int) -> None:
    loaded = load(tmp_path, text)
    assert [(row[0], row[3]) for row in loaded.rows] == [(slug, column)]
    assert loaded.scenario is None


def test_the_same_template_may_be_repeated(tmp_path: Path) -> None:
    assert load(tmp_path, entry("test_template_name = 'DeepEPBenchmark'")).slugs == []


@pytest.mark.parametrize(
    ("nodes", "slug"),
    [
        ('"GAIA:x"', "bad-node-spec"),
        ('"GAIA:x:two"', "bad-node-spec"),
        ('"GAIA:x:0"', "bad-node-spec"),
        ('["n[1-", "m"]', "bad-node-spec"),
        ('["n[3-1]"]', "bad-node-spec"),
        ('"GAIA:x:max_avail"', None),
        ('"n[01-04,7],m"', None),
        ('["fe80::1"]', None),
    ],
)
def test_node_specs(tmp_path: Path, nodes: str, slug: str | None) -> None:
    assert load(tmp_path, entry(f"nodes = {nodes}")).slugs == ([slug] if slug else [])


def test_sweeps_that_explode(tmp_path: Path) -> None:
    def values(count: int) -> str:
        return "[" + ",".join(str(number + 1) for number in range(count)) + "]"

    large = load(tmp_path, entry(f"cmd_args.tokens = {values(1001)}"))
    assert large.rows == [("sweep-large", "scenario.toml", 2, 1)]
    assert len(large.ok.entries[0].cases) == 1001
    axes = "\n".join(
        f"cmd_args.{name} = {values(1000)}" for name in ("tokens", "hidden_size", "num_warmups", "seed")
    )
    loaded = load(tmp_path, entry(axes))
    assert loaded.rows == [("sweep-too-large", "scenario.toml", 2, 1)]
    assert "1,000,000,000,000 points" in loaded.diagnostics[0].message
    many = load(tmp_path, entry("iterations = 100000") + entry("iterations = 2", id="B"))
    assert many.slugs == ["scenario-too-large"]


@pytest.mark.parametrize(
    "line",
    [
        "weight = 3",
        "sol = 1.5",
        "ideal_perf = 2.0",
        "agent = 'random'",
        "agent_steps = 4",
        "agent_metrics = ['x']",
        "agent_reward_function = 'negative'",
        "agent_config = {random_seed = 1}",
        "git_repos = [{url = 'x', commit = 'y'}]",
    ],
)
def test_entry_keys_without_effect_are_said(tmp_path: Path, line: str) -> None:
    loaded = load(tmp_path, entry(line))
    assert loaded.rows == [("no-effect", "scenario.toml", 6, 1)]
    assert loaded.scenario is not None


@pytest.mark.parametrize(
    "line",
    ["job_status_check = false", "sol_path = 'x'"],
)
def test_scenario_keys_without_effect_are_said(tmp_path: Path, line: str) -> None:
    assert load(tmp_path, f"{line}\n{entry()}").rows == [("no-effect", "scenario.toml", 2, 1)]


@pytest.mark.parametrize("line", ["weight = 0", "agent = 'grid_search'", "ideal_perf = 1.0"])
def test_a_default_is_not_worth_a_word(tmp_path: Path, line: str) -> None:
    assert load(tmp_path, entry(line)).slugs == []


def test_a_nul_character_is_refused(tmp_path: Path) -> None:
    loaded = load(tmp_path, entry('description = "a\\u0000b"\nextra_env_vars.X = "\\u0000"'))
    assert sorted(loaded.rows) == [
        ("nul-character", "scenario.toml", 6, 15),
        ("nul-character", "scenario.toml", 7, 20),
    ]
    assert loaded.scenario is None
