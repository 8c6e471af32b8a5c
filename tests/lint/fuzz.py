"""Feeds ``lint`` with what nobody should write: ``python -m tests.lint.fuzz [INPUTS] [SEED]``.

Every input goes through the real entry point (``compiler.cli.main.run``) as a folder of scenario, test,
system TOML and project file. Hypothesis makes folders from the schemas' keys with wild values, and broken
bytes; each is followed by VARIANTS - 1 others with a value, a key or some bytes exchanged. An exception, an
unknown exit code or an input that takes more than LONGEST_S of CPU time fails; the input is kept in
``found/`` below the working directory. A short version runs with the tests (``test_no_traceback.py``).
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from compiler.cli.main import run
from compiler.schema import store
from tests.document.toml_text import documents

LONGEST_S = 20.0
VARIANTS = 32
FORMATS = ("text", "json", "sarif", "github")


class Raw(str):
    """TOML as it is, not text."""


RAW = st.sampled_from(
    [
        *("0", "1", "2", "8", "-1", "1e400", "nan", "-inf", "1.0", "true", "false", "1979-05-27", "07:32:00"),
        *("9" * 40, "9" * 5000, "0x" + "f" * 4000, "0b1", "2147483647", "2147483648", "9223372036854775808"),
        *("'''\nx'''", '"""\n"""', "1979-05-27T07:32:00Z", "[[[[[]]]]]", "{a.b.c = 1}"),
    ]
).map(Raw)
WORDS = st.sampled_from(
    [
        *("DeepEPBenchmark", "NcclTest", "A", "t", "start_post_comp", "start_post_init", "end_post_comp"),
        *("00:30:00", "1:1", "99999999999:1:1", "1-0", "cmd_args.tokens", "p:g:1", "p:g:max_avail", "a:b:c"),
        *("n[1-2]", "n[1-99999999]", "n[01-3]x[1-9]", "[", "n[", "]", ",", "standard", "low_latency", "fp8"),
        *(
            "deepep",
            "deepep_v1",
            "deepep_v2",
            "gloo",
            "docker://u@r#i:t",
            "http://x",
            "/x.sqsh",
            "r/i@sha256:0",
        ),
        *(
            "$(x)",
            "`",
            "\0",
            "",
            " ",
            "../..",
            "slurm",
            "standalone",
            "/a:/b",
            "/a:/b:ro",
            ":",
            "DEP3",
            "x" * 300,
        ),
    ]
)
TEXTS = st.one_of(WORDS, WORDS, st.text(max_size=4))


@cache
def _strategies() -> dict[str, st.SearchStrategy[Any]]:
    return {
        name: _object(name, store.load(name), 0)
        for name in ("test.DeepEPBenchmark", "scenario", "system", "settings")
    }


def _valid(base: str, schema: Any, depth: int) -> st.SearchStrategy[Any]:
    """Values that fit a schema, mostly."""
    base, schema = store.flat(base, schema)
    branches = [_valid(base, branch, depth + 1) for branch in schema.get("anyOf", ())]
    if branches:
        return st.one_of(branches)
    if "enum" in schema or "const" in schema:
        return st.sampled_from(list(schema.get("enum", [schema.get("const")])))
    kind = schema.get("type")
    if kind == "object":
        return _object(base, schema, depth + 1)
    if kind == "array":
        items = _valid(base, schema["items"], depth + 1) if depth < 6 and "items" in schema else TEXTS
        return st.lists(items, max_size=3)
    examples = st.sampled_from(schema["examples"]) if schema.get("examples") else TEXTS
    if kind == "integer":
        low, high = schema.get("minimum", 0), min(schema.get("maximum", 4096), 2**40)
        near = st.sampled_from(
            [value for value in (1, 2, 4, 8, 9, 16, 128, 256, 7168) if low <= value <= high]
        )
        return st.one_of(examples, near, st.integers(low, high), st.sampled_from([low, high]))
    if kind == "boolean":
        return st.booleans()
    if kind == "number":
        return st.floats(allow_nan=False)
    return st.one_of(examples, TEXTS)


def _object(base: str, schema: Any, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    fields = {}
    if depth < 6:
        for key, inner in schema.get("properties", {}).items():
            fields[key] = st.one_of(_valid(base, inner, depth + 1), _valid(base, inner, depth + 1), WILD)
    required = {key: fields[key] for key in schema.get("required", ()) if key in fields}
    optional = {key: value for key, value in fields.items() if key not in required}
    return st.tuples(
        st.fixed_dictionaries(required, optional=optional),
        st.dictionaries(st.one_of(WORDS, st.sampled_from(sorted(fields) or ["a"])), WILD, max_size=1),
        st.sets(st.sampled_from(sorted(fields) or ["a"]), max_size=1),
    ).map(
        lambda parts: {
            k: v for k, v in {**parts[0], **parts[1]}.items() if k not in parts[2] or len(parts[2]) > 1
        }
    )


WILD: st.SearchStrategy[Any] = st.recursive(
    st.one_of(TEXTS, RAW),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)


def toml(value: Any) -> str:
    """Returns a value as TOML."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return (
            '"'
            + "".join(
                c if c.isascii() and (c.isalnum() or c in "_-. /:") else f"\\U{ord(c):08X}" for c in value
            )
            + '"'
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    return str(value)


def document(data: Mapping[str, Any]) -> bytes:
    """Returns a document; tables of tables as headers here and there."""
    lines = [f"{toml(key)} = {toml(value)}" for key, value in data.items()]
    return "\n".join(lines).encode()


@st.composite
def _broken(draw: st.DrawFn, content: st.SearchStrategy[bytes]) -> bytes:
    raw = bytearray(draw(content))
    for _ in range(draw(st.integers(1, 3))):
        position = draw(st.integers(0, max(len(raw) - 1, 0)))
        match draw(st.integers(0, 3)):
            case 0:
                raw[position:position] = draw(st.binary(min_size=1, max_size=3))
            case 1:
                del raw[position : position + draw(st.integers(1, 9))]
            case 2:
                raw[position : position + 1] = draw(
                    st.sampled_from([b"[", b"]", b'"', b"\n", b"\0", b"\xff", b"#"])
                )
            case _:
                raw += b"\n# noqa: DEP1" + raw[: position + 1]
    return bytes(raw)


def _kind(name: str) -> st.SearchStrategy[bytes]:
    valid = _strategies()[name].map(document)
    return st.one_of(valid, valid, valid, _broken(valid), documents().map(str.encode), st.binary(max_size=60))


@st.composite
def folders(draw: st.DrawFn) -> dict[str, bytes]:
    """Files of a folder, by path."""
    found = {
        "scenario.toml": draw(_kind("scenario")),
        "tests/t.toml": draw(_kind("test.DeepEPBenchmark")),
    }
    if draw(st.booleans()):
        found["tests/t.toml"] = document(
            {"name": "t", "description": "d", "test_template_name": "DeepEPBenchmark"}
            | {"cmd_args": draw(_strategies()["test.DeepEPBenchmark"]).get("cmd_args", {})}
        )
        entry = draw(_object("scenario", store.resolve("scenario", "#/$defs/entry")[1], 2))
        entry |= {"id": draw(TEXTS) or "A", "test_name": "t"}
        found["scenario.toml"] = document({"name": "s", "Tests": [entry]})
    if draw(st.integers(0, 3)) == 0:
        found["system.toml"] = draw(_kind("system"))
    if draw(st.integers(0, 7)) == 0:
        found["deepep-compiler.toml"] = draw(_kind("settings"))
    return found


OPTIONS = st.lists(
    st.sampled_from(
        [
            ("--strict",), ("--verbose",), ("--ignore", "DEP1"), ("--select", "DEP3"),
            ("--assume-backend", "deepep_v1"), ("--assume-backend", "deepep_v2"),
            ("--assume-deepep-version", "1.2.1"), ("--assume-ranks-per-host", "4"),
        ]
    ),
    max_size=2,
    unique=True,
).map(lambda pairs: [word for pair in pairs for word in pair])  # fmt: skip


_VALUE = re.compile(rb'"[^"]*"|\b[0-9][0-9A-Za-z_.:-]*|\btrue\b|\bfalse\b|\[\]|\{\}')
_SPLICES = (
    *(
        b'""',
        b"0",
        b"-1",
        b"1",
        b"2",
        b"8",
        b"9",
        b"64",
        b"1.5",
        b"nan",
        b"inf",
        b"true",
        b"[]",
        b"{}",
        b"[1, 2]",
    ),
    *(
        b'["a", "b"]',
        b"[[1]]",
        b"1979-05-27",
        b'"A"',
        b'"t"',
        b'"DeepEPBenchmark"',
        b'"deepep_v1"',
        b'"gloo"',
    ),
    *(b'"deepep_v2"', b'"low_latency"', b'"fp8"', b'"00:30:00"', b'"p:g:9"', b'"n[1-9]"', b"65536", b"7169"),
    *(b"1e308", b"2147483647", b"9" * 60, b"\xff", b"\0", b"\n", b"#", b"'", b'"\\u0000"', b'"\\uD800"'),
)


def variant(files: Mapping[str, bytes], random: Random) -> dict[str, bytes]:
    """Returns the files with something exchanged in one of them."""
    name = random.choice(sorted(files))
    content = files[name]
    places = list(_VALUE.finditer(content))
    begin = random.randrange(len(content) + 1)
    match random.randrange(6):
        case 0 | 1 | 2 if places:
            place = random.choice(places)
            content = content[: place.start()] + random.choice(_SPLICES) + content[place.end() :]
        case 3 if len(places) > 1:
            one, other = random.sample(places, 2)
            content = content[: one.start()] + other[0] + content[one.end() :]
        case 4:
            content = content[:begin] + content[begin + random.randrange(1, 40) :]
        case _:
            content = content[:begin] + random.choice(_SPLICES) + content[begin:]
    return {**files, name: content}


def check(files: Mapping[str, bytes], options: list[str]) -> None:
    """Lints the files through the command line; fails where it does not end as it should."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tests").mkdir()
        for path, content in files.items():
            (folder / path).write_bytes(content)
        begin = time.process_time()
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(["lint", name, *options])
        elapsed = time.process_time() - begin
        assert code in (0, 1), (code, err.getvalue())
        assert not err.getvalue(), err.getvalue()
        assert elapsed < LONGEST_S, elapsed
        if "json" in options or "sarif" in options:
            json.loads(out.getvalue())


def _kept(files: Mapping[str, bytes], options: list[str], error: BaseException) -> None:
    folder = Path("found") / f"{abs(hash((tuple(files.items()), tuple(options)))):x}"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tests").mkdir(parents=True)
    for path, content in files.items():
        (folder / path).write_bytes(content)
    (folder / "error.txt").write_text(f"{options}\n{type(error).__name__}: {error}\n", encoding="utf-8")


def _batches(inputs: int, first: int) -> Iterator[tuple[int, int]]:
    size = 2000
    for number in range(0, inputs, size):
        yield first + number, min(size, inputs - number)


def main() -> int:
    """Returns 0 where nothing was found."""
    inputs = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    begin, done, failures = time.monotonic(), 0, 0
    for number, size in _batches(inputs, first):

        @seed(number)
        @settings(
            max_examples=max(size // VARIANTS, 1), deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate,),
        )  # fmt: skip
        @given(folders(), st.integers(0, 2**32), OPTIONS)
        def batch(files: dict[str, bytes], chance: int, options: list[str]) -> None:
            nonlocal done, failures
            random = Random(chance)  # noqa: S311
            for number in range(VARIANTS):
                files = variant(files, random) if number else files
                chosen = ["--format", random.choice(FORMATS), *options]
                done += 1
                try:
                    check(files, chosen)
                except Exception as error:
                    failures += 1
                    _kept(files, chosen, error)

        batch()
        print(f"{done:,} inputs, {failures} failures, {time.monotonic() - begin:.0f} s", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
