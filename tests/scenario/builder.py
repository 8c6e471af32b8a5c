"""Writes a scenario with its tests, loads it, and returns findings as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.diagnostics.codes import code_of
from compiler.diagnostics.locate import Locator
from compiler.diagnostics.model import Diagnostic
from compiler.scenario.load import load_scenario
from compiler.scenario.model import Scenario

TEST = """name = "standard"
description = "a test"
test_template_name = "DeepEPBenchmark"
"""

Row = tuple[str, str, int | None, int | None]
"""Slug, file name, line, column."""


@dataclass(frozen=True)
class Loaded:
    scenario: Scenario | None
    diagnostics: Sequence[Diagnostic]

    @property
    def rows(self) -> list[Row]:
        locator = Locator()
        found = []
        for one in self.diagnostics:
            code = code_of(one.code)
            assert code is not None
            location = locator.locate(one.place) if one.place else None
            found.append((
                code.slug,
                location.file.name if location else "",
                location.line if location else None,
                location.column if location else None,
            ))  # fmt: skip
        return found

    @property
    def slugs(self) -> list[str]:
        return [row[0] for row in self.rows]

    @property
    def ok(self) -> Scenario:
        assert self.scenario is not None, [one.message for one in self.diagnostics]
        return self.scenario


def entry(lines: str = "", *, id: str = "A", test: str = "standard") -> str:
    return f'[[Tests]]\nid = "{id}"\ntest_name = "{test}"\ntime_limit = "00:30:00"\n{lines}\n'


def load(folder: Path, entries: str, test: str = "[cmd_args]\n", **tests: str) -> Loaded:
    """Writes ``entries`` as a scenario over the test ``standard`` (and more test files), and loads it."""
    (folder / "tests").mkdir(exist_ok=True)
    (folder / "tests" / "standard.toml").write_text(TEST + test, encoding="utf-8")
    for name, text in tests.items():
        (folder / "tests" / f"{name}.toml").write_text(text, encoding="utf-8")
    (folder / "scenario.toml").write_text(f'name = "s"\n{entries}', encoding="utf-8")
    return Loaded(*load_scenario(folder / "scenario.toml", None))
