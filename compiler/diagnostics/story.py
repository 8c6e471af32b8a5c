"""The whole story of a code: what ``explain`` prints and the reference pages are made from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

import tomli

from compiler.diagnostics.codes import CODES, Code

if TYPE_CHECKING:
    from compiler.rules.kernels.model import Example, Rule

MARK = "\N{MATHEMATICAL LEFT WHITE SQUARE BRACKET}"
"""In an example: the finding stands at the next character."""

WHERE: Mapping[str, str] = {
    "cmd_args": "a test's [cmd_args]",
    "test": "a test TOML",
    "entry": "an entry of a scenario",
    "scenario": "a scenario TOML",
    "system": "a system TOML",
    "inventory": "the inventory, for all hosts",
    "settings": "deepep-compiler.toml",
    "said": "",
}
"""The pieces of an example, in the order in which they are shown. ``said``: no text can show it."""


@dataclass(frozen=True, slots=True)
class Examples:
    """A bad and a good example: piece (a key of :data:`WHERE`) -> text, with marks in the bad one."""

    bad: Mapping[str, str]
    good: Mapping[str, str]


@cache
def examples() -> Mapping[str, Examples]:
    """Returns the examples of the codes without a kernel rule, by slug."""
    text = Path(__file__).with_name("examples.toml").read_text(encoding="utf-8")
    return {slug: Examples(table["bad"], table["good"]) for slug, table in tomli.loads(text).items()}


def kernel_rule(code: Code) -> Rule | None:
    """Returns the kernel rule of a code, if it is one's."""
    if code in CODES:
        return None
    from compiler.rules.kernels.registry import RULES

    return next((rule for rule in RULES if rule.code == code.code), None)


def one_line(code: Code) -> str:
    """Returns code, severity, slug and title."""
    return f"{code.code}  {code.severity.value:7}  {code.slug:29}  {code.title}"


def story(code: Code) -> Iterator[str]:
    """Yields the lines that ``explain`` prints."""
    rule = kernel_rule(code)
    yield f"{code.code} {code.slug} ({code.severity.value})"
    yield ""
    yield f"{code.title[0].upper()}{code.title[1:]}."
    yield ""
    if rule is not None:
        yield f"demand:  {rule.limit.requirement}"
    yield f"why:     {code.why}"
    if rule is None:
        yield f"way out: {code.fix}"
    for source in sources(code):
        yield f"source:  {source}"
    if rule is not None and rule.limit.history:
        yield f"history: {rule.limit.history}"
    yield f"switch:  {switch_text(code)}"
    bad, good = example_texts(code)
    for label, text in (("bad", bad), ("good", good)):
        yield ""
        yield f"{label}:"
        yield indent(text.rstrip("\n"), "    ")


def switch_text(code: Code) -> str:
    """Returns how the finding can be silenced, or that it cannot."""
    if not code.switchable:
        return "cannot be switched off: there is no plan without it"
    return f"--ignore {code.code}, # noqa: {code.slug} on its line, or ignore in {'deepep-compiler.toml'}"


def sources(code: Code) -> list[str]:
    """Returns where the demand comes from."""
    rule = kernel_rule(code)
    if rule is None:
        return [code.source] if code.source else []
    lines = [f"DeepEP {version}: {', '.join(where)}" for version, where in rule.limit.sources.items()]
    return [*lines, *rule.limit.also]


def example_texts(code: Code) -> tuple[str, str]:
    """Returns the bad and the good example as text."""
    rule = kernel_rule(code)
    if rule is not None:
        return of_run(rule.bad), of_run(rule.good)
    found = examples()[code.slug]
    return pieces_text(found.bad), pieces_text(found.good)


def pieces_text(pieces: Mapping[str, str]) -> str:
    """Returns the pieces of an example, each under a comment that says what it is part of."""
    parts = []
    for name, where in WHERE.items():
        if name in pieces:
            head = f"# {where}\n" if where else ""
            parts.append(head + pieces[name].replace(MARK, "").rstrip("\n"))
    return "\n\n".join(parts)


def of_run(example: Example) -> str:
    """Returns a kernel rule's example as the lines of a test and an entry, and what they run on."""
    hosts = f"{example.hosts} host{'' if example.hosts == 1 else 's'} of {example.ranks_per_host} GPUs"
    release = f", DeepEP {example.version}" if example.version else ""
    program = ", deepep_program: image" if example.program == "image" else ""
    lines = [f"# {hosts}, backend {example.backend}{release}{program}"]
    if example.time_limit_s is not None:
        minutes, seconds = divmod(example.time_limit_s, 60)
        lines.append(f'time_limit = "00:{minutes:02}:{seconds:02}"')
    if example.arguments:
        lines += ["[cmd_args]", *(f"{key} = {json.dumps(value)}" for key, value in example.arguments.items())]
    if example.env:
        lines += [
            "[extra_env_vars]",
            *(f"{name} = {json.dumps(value)}" for name, value in example.env.items()),
        ]
    return "\n".join(lines)
