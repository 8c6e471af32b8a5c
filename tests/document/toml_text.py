"""Strategies for TOML texts: every construct of TOML 1.0 that a position can be wrong in."""

from __future__ import annotations

import tomli
from hypothesis import strategies as st

KEYS = st.sampled_from(["a", "b", "c-d", "1", "true", '"q k"', "'l.k'", '"ü\\u00e9"', '""'])
SPACES = st.sampled_from(["", " ", "\t", "  "])
TEXT = st.text(alphabet="aé漢😀 #=[]{}.,\\\"'", max_size=6)


@st.composite
def dotted(draw: st.DrawFn) -> str:
    dot = draw(st.sampled_from([".", " . ", ". "]))
    return dot.join(draw(st.lists(KEYS, min_size=1, max_size=3)))


def basic(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "") + "'"


def multi_line(text: str) -> str:
    return '"""\n' + text.replace("\\", "\\\\").replace('"', '\\"') + '\né"""'


SCALARS = st.one_of(
    st.integers(-5, 5).map(str),
    st.sampled_from(
        ["1.5", "inf", "-nan", "0xF_f", "true", "1979-05-27T07:32:00Z", "07:32:00", "1979-05-27"]
    ),
    TEXT.map(basic),
    TEXT.map(literal),
    TEXT.map(multi_line),
    st.just("'''\nx'y\n'''"),
)


@st.composite
def array(draw: st.DrawFn, items: st.SearchStrategy[str]) -> str:
    gap = st.sampled_from(["", " ", "\n  ", " # é, [\n"])
    parts = [draw(gap) + item + draw(gap) for item in draw(st.lists(items, max_size=3))]
    tail = draw(st.sampled_from(["", ","])) if parts else ""
    return "[" + ",".join(parts) + tail + draw(gap) + "]"


@st.composite
def inline_table(draw: st.DrawFn, items: st.SearchStrategy[str]) -> str:
    pairs = [f"{draw(dotted())} = {draw(items)}" for _ in range(draw(st.integers(0, 3)))]
    return "{" + draw(SPACES) + ", ".join(pairs) + draw(SPACES) + "}"


VALUES = st.recursive(SCALARS, lambda inner: array(inner) | inline_table(inner), max_leaves=6)


@st.composite
def line(draw: st.DrawFn) -> str:
    match draw(st.integers(0, 5)):
        case 0:
            text = f"[{draw(SPACES)}{draw(dotted())}{draw(SPACES)}]"
        case 1:
            text = f"[[{draw(SPACES)}{draw(dotted())}{draw(SPACES)}]]"
        case 2:
            text = draw(st.sampled_from(["", "# é [x] = 1"]))
        case _:
            text = f"{draw(dotted())}{draw(SPACES)}={draw(SPACES)}{draw(VALUES)}"
    return draw(SPACES) + text + draw(st.sampled_from(["", " ", " # é = 2"]))


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Valid TOML: lines that would make the text invalid are left out."""
    end = draw(st.sampled_from(["\n", "\r\n"]))
    text = ""
    for added in draw(st.lists(line(), max_size=12)):
        longer = text + added.replace("\n", end) + end
        try:
            tomli.loads(longer)
        except tomli.TOMLDecodeError:
            continue
        text = longer
    return text
