"""Whatever the input, ``lint`` ends with an exit code and never with an exception."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.diagnostics.render import FORMATS, render
from compiler.lint import lint
from tests.document.toml_text import documents

KEYS = [
    *(
        "name",
        "description",
        "test_template_name",
        "cmd_args",
        "Tests",
        "id",
        "test_name",
        "num_nodes",
        "nodes",
    ),
    *("time_limit", "dependencies", "type", "iterations", "extra_env_vars", "dse_excluded_args", "tokens"),
    *("num_topk", "mode", "scheduler", "partitions", "groups", "agent_config", "nsys"),
]
WORDS = ["DeepEPBenchmark", "A", "t", "start_post_comp", "00:30:00", "1:1", "cmd_args.tokens", "a:b:c", "["]


class Raw(str):
    """TOML as it is, not text."""


RAW = st.sampled_from(["0", "-1", "1e400", "nan", "1.0", "true", "1979-05-27", "9" * 40]).map(Raw)

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.sampled_from(WORDS), st.text(max_size=3), RAW),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


def toml(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08X}" for c in value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"


def check(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "tests").mkdir()
        (root / "scenario.toml").write_bytes(content)
        (root / "tests" / "x.toml").write_bytes(content)
        found = lint([root]).diagnostics
        for name in FORMATS:
            render(found, name)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8))
def test_known_keys_with_wild_values(data: dict[str, Any]) -> None:
    check("\n".join(f"{key} = {toml(value)}" for key, value in data.items()).encode())


@settings(max_examples=40, deadline=None)
@given(documents())
def test_any_toml(text: str) -> None:
    check(text.encode())


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes(content: bytes) -> None:
    check(b'name = "x"\n' + content)
