"""The fast path may only ever say "certainly valid" where jsonschema agrees."""

from __future__ import annotations

import copy
import json
from datetime import date
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.schema import accept, store
from compiler.schema.accept import accepts
from compiler.schema.authority import validator

NAMES = ("test.DeepEPBenchmark", "scenario", "system")

VALID: dict[str, dict[str, Any]] = {
    "test.DeepEPBenchmark": {
        "name": "t",
        "description": "d",
        "test_template_name": "DeepEPBenchmark",
        "cmd_args": {"mode": "standard", "tokens": [128, 256], "num_topk": 8, "round_scale": True, "seed": 3},
        "extra_env_vars": {"A": "1", "B": ["x", "y"]},
        "extra_container_mounts": ["/a:/b"],
        "dse_excluded_args": "cmd_args.tokens",
    },
    "scenario": {
        "name": "s",
        "job_status_check": True,
        "reports": {"status": {"enable": True}},
        "Tests": [
            {
                "id": "Tests.1",
                "test_template_name": "DeepEPBenchmark",
                "name": "n",
                "description": "",
                "num_nodes": [1, 2],
                "nodes": "a:b:1",
                "cmd_args": {"tokens": 1},
                "dependencies": [{"type": "start_post_comp", "id": "x"}],
            },
            {"id": "b", "test_name": "t", "cmd_args": {"any": 1}, "nodes": ["n1"], "ideal_perf": 1.0},
        ],
    },
    "system": {
        "name": "s",
        "scheduler": "slurm",
        "install_path": "i",
        "output_path": "o",
        "default_partition": "p",
        "partitions": [{"name": "p", "groups": [{"name": "g", "nodes": ["n[1-2]"]}]}],
        "global_env_vars": {"A": 1, "B": {"default": "x"}},
    },
}

ODD = st.one_of(
    st.integers(),
    st.sampled_from([0, 1, -1, 2**31, 10**30, 1.0, 0.5, float("nan"), float("inf"), True, False, None]),
    st.text(max_size=4),
    st.sampled_from(["standard", "a\n", "x" * 200, "/a:/b", "DeepEPBenchmark", "../x", "A=B", "\0"]),
    st.lists(st.one_of(st.integers(0, 2), st.booleans(), st.text(max_size=1), st.just(1.0)), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.just(date(2020, 1, 1)),
)


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(spot for key, child in items for spot in spots(child, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    copied = copy.copy(value)
    copied[path[0]] = changed(value[path[0]], path[1:], odd)
    return copied


@pytest.mark.parametrize("name", NAMES)
def test_valid_files_take_the_fast_path(name: str) -> None:
    assert accepts(name)(VALID[name])
    assert validator(name).is_valid(VALID[name])


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_what_the_fast_path_accepts_is_valid(name: str, data: st.DataObject) -> None:
    value: Any = VALID[name]
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(spots(value)))
        table = value
        for key in path:
            table = table[key]
        if isinstance(table, dict) and data.draw(st.booleans()):
            known = [key for key in store.properties(name)] + ["odd", "a\n", "1A"]
            path = (*path, data.draw(st.sampled_from(known)))
        value = changed_or_set(value, path, data.draw(ODD))
        if not isinstance(value, dict):
            break
    if accepts(name)(value):
        assert validator(name).is_valid(value)


def changed_or_set(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    parent = path[:-1]
    table = value
    for key in parent:
        table = table[key]
    table = copy.copy(table)
    table[path[-1]] = odd
    return changed(value, parent, table)


TYPES = ["string", "integer", "number", "boolean", "array"]
SMALL = st.integers(0, 2)

SIMPLE = st.one_of(
    st.sampled_from(TYPES).map(lambda kind: {"type": kind}),
    st.tuples(st.integers(-2, 2), st.integers(-2, 2)).map(lambda low: {"minimum": low[0], "maximum": low[1]}),
    st.tuples(SMALL, SMALL).map(lambda low: {"minLength": low[0], "maxLength": low[1]}),
    st.tuples(SMALL, SMALL).map(lambda low: {"minItems": low[0], "maxItems": low[1]}),
    st.lists(st.sampled_from(["a", "b", 1, True]), min_size=1).map(lambda values: {"enum": values}),
    st.sampled_from([{"pattern": "^a"}, {"uniqueItems": True}, {"const": "a"}, {"const": 1}, True, False]),
    st.just({"notAKeyword": 1}),
)

CONDITION = {"properties": {"k": {"const": "a"}}, "required": ["k"]}


def combined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    pair = st.tuples(inner, inner)
    return st.one_of(
        inner.map(lambda one: {"type": "array", "items": one}),
        pair.map(lambda both: {"anyOf": list(both)}),
        pair.map(lambda both: {"allOf": list(both)}),
        pair.map(lambda both: {"properties": {"a": both[0]}, "additionalProperties": both[1]}),
        inner.map(lambda one: {"additionalProperties": one, "required": ["a"]}),
        inner.map(lambda one: {"propertyNames": one}),
        pair.map(lambda both: {"if": CONDITION, "then": both[0], "else": both[1]}),
    )


SCHEMAS = st.recursive(SIMPLE, combined, max_leaves=6)

INSTANCES = st.recursive(
    st.one_of(st.integers(-3, 3), st.booleans(), st.sampled_from(["", "a", "ab", 1.0, 0.5, float("nan")])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "k"]), inner),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(SCHEMAS, INSTANCES)
def test_any_schema_of_known_keywords(schema: Any, instance: Any) -> None:
    from compiler.schema import authority

    if accept._compile("none", schema)(instance):
        assert authority._Validator(cast("Any", json.loads(json.dumps(schema)))).is_valid(instance)


def test_an_unknown_keyword_asks_jsonschema() -> None:
    assert not accept._compile("none", {"type": "string", "format": "uri"})("x")
    assert not accept._compile("none", {"minProperties": 1})({"a": 1})
