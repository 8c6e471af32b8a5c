"""What users read when a value does not fit the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compiler.diagnostics.codes import code_of
from compiler.diagnostics.wording import key_text
from compiler.schema.validate import validate

FILE = Path("x.toml")


def of_test(**changes: Any) -> list[tuple[str, str, str]]:
    arguments = changes.pop("cmd_args", {})
    data = {"name": "t", "description": "d", "test_template_name": "DeepEPBenchmark", "cmd_args": arguments}
    return rows({**data, **changes}, "test.DeepEPBenchmark")


def rows(data: dict[str, Any], schema: str) -> list[tuple[str, str, str]]:
    found = []
    for one in validate(FILE, data, schema):
        code = code_of(one.code)
        assert code is not None
        assert one.place is not None
        found.append((code.slug, key_text(one.place.path), one.fix))
    return found


@pytest.mark.parametrize(
    ("key", "value", "slug", "fix"),
    [
        ("tokens", "1024", "wrong-type", "write tokens = 1024"),
        ("tokens", 1024.0, "wrong-type", "write tokens = 1024"),
        ("tokens", True, "wrong-type", "write a whole number, or a list of such values"),
        ("tokens", 0, "out-of-range", "write tokens = 1 or more"),
        ("tokens", 10**30, "out-of-range", "write tokens = 2147483647 or less"),
        ("tokens", [], "out-of-range", "give at least 1 value, or leave tokens out"),
        ("round_scale", "yes", "wrong-type", "write round_scale = true"),
        ("round_scale", 0, "wrong-type", "write round_scale = false"),
        ("mode", "fast", "bad-value", 'write "standard" or "low_latency"'),
        ("mode", "low-latency", "bad-value", 'write mode = "low_latency"'),
        ("data_type", "BF16", "bad-value", 'write data_type = "bfloat16"'),
        ("docker_image_url", "a b", "bad-value", "use an image reference or a path, without blanks"),
        ("results_dir", "relative", "bad-value", "use an absolute path in the container"),
        ("num_expert", 1, "unknown-key", "did you mean num_experts?"),
        ("num_tokens", 1, "unknown-key", "did you mean tokens?"),
        ("hidden", 1, "unknown-key", "did you mean hidden_size?"),
    ],
)
def test_arguments(key: str, value: object, slug: str, fix: str) -> None:
    assert of_test(cmd_args={key: value}) == [(slug, f"cmd_args.{key}", fix)]


def test_elements_of_a_sweep_have_their_own_place() -> None:
    found = of_test(cmd_args={"tokens": [128, "256", -1], "mode": ["standard", "fast"]})
    assert [(slug, key) for slug, key, _ in found] == [
        ("bad-value", "cmd_args.mode[1]"),
        ("wrong-type", "cmd_args.tokens[1]"),
        ("out-of-range", "cmd_args.tokens[2]"),
    ]
    assert found[1][2] == "write 256"


def test_a_value_twice_in_a_sweep() -> None:
    assert [(slug, key) for slug, key, _ in of_test(cmd_args={"tokens": [1, 2, 1]})] == [
        ("duplicate-value", "cmd_args.tokens[2]")
    ]


@pytest.mark.parametrize(
    ("key", "fix"),
    [
        ("tokens", "move it below [cmd_args]: tokens is an argument of DeepEPBenchmark"),
        ("time_limit", "move it below [[Tests]]: time_limit is a key of an entry"),
        ("extra_env_var", "did you mean extra_env_vars?"),
    ],
)
def test_keys_in_the_wrong_table_are_sent_home(key: str, fix: str) -> None:
    assert of_test(**{key: 1}) == [("unknown-key", key, fix)]


def test_keys_of_the_test_below_cmd_args() -> None:
    ((_, _, fix),) = of_test(cmd_args={"extra_env_vars": {}})
    assert fix == "move it above [cmd_args], or write it as [extra_env_vars]: it is a key of the test"


def test_entry_keys_in_the_wrong_table_are_sent_home() -> None:
    entry = {"id": "a", "test_name": "t", "extra_cmd_args": {}, "tokens": 1}
    found = rows({"name": "s", "Tests": [entry]}, "scenario")
    assert sorted(fix for _, _, fix in found) == [
        "move it below [Tests.cmd_args]: tokens is an argument of DeepEPBenchmark",
        "move it into the test's own file: an entry cannot set extra_cmd_args",
    ]


def test_missing_keys() -> None:
    found = rows({"nam": "t"}, "test.DeepEPBenchmark")
    assert ("missing-key", "", "rename nam to name") in found
    assert ("missing-key", "", 'add test_template_name = "DeepEPBenchmark"') in found


@pytest.mark.parametrize(
    ("value", "slug", "key"),
    [
        ({"A=B": "1"}, "bad-env-name", 'extra_env_vars."A=B"'),
        ({"1A": "1"}, "bad-env-name", "extra_env_vars.1A"),
        ({"": "1"}, "bad-env-name", 'extra_env_vars.""'),
        ({"A\n": "1"}, "bad-env-name", 'extra_env_vars."A\\n"'),
        ({"A": 1}, "wrong-type", "extra_env_vars.A"),
        ({"A": [1]}, "wrong-type", "extra_env_vars.A[0]"),
    ],
)
def test_environment(value: dict[str, object], slug: str, key: str) -> None:
    assert [(found, where) for found, where, _ in of_test(extra_env_vars=value)] == [(slug, key)]


@pytest.mark.parametrize("value", ["x", "a\nb", 'say "hi"', "{{ x }}", "漢", "x" * 10_000, ""])
def test_environment_values_are_free(value: str) -> None:
    assert of_test(extra_env_vars={"A": value}) == []


@pytest.mark.parametrize("name", ["../../escape", "/x", ".x", "", "a/b", "a\n", "x" * 129, "ä", "a b", "-x"])
@pytest.mark.parametrize("key", ["id", "name"])
def test_names_of_directories_are_safe(name: str, key: str) -> None:
    data: dict[str, Any] = {"name": "s", "Tests": [{"id": "a", "test_name": "t"}]}
    (data if key == "name" else data["Tests"][0])[key] = name
    assert [slug for slug, _, _ in rows(data, "scenario")] == ["unsafe-name"]


@pytest.mark.parametrize("mount", ["/a", "/a:b", "/a:/b:/c:d:e", ":/b"])
def test_mounts(mount: str) -> None:
    assert [slug for slug, _, _ in of_test(extra_container_mounts=[mount])] == ["bad-mount"]
