"""Which of the findings the user wants to see: project files, the command line, and comments say so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from compiler.diagnostics.codes import finding, prevents
from compiler.diagnostics.locate import Locator
from compiler.diagnostics.model import Diagnostic, Severity
from compiler.diagnostics.noqa import Comments, may_have
from compiler.diagnostics.switches import Switches, matches

_ONCE = frozenset({"DEP701"})
"""Told once for the same words, however often they are true: a thousand tests may share an image."""


def shown(
    diagnostics: Iterable[Diagnostic],
    switches_of: Callable[[Path | None], Switches],
    locator: Locator,
    texts: Iterable[tuple[Path, str]] | None = None,
) -> list[Diagnostic]:
    """Returns the findings to show, each once, with those about the switches themselves.

    ``texts`` are all files that were checked: their comments are checked too. Without it the files of
    findings are looked at.
    """
    found = _together(dict.fromkeys(diagnostics))
    refused: dict[str, None] = {}
    kept: list[Diagnostic] = []
    hidden = False
    for one in found:
        switches = switches_of(one.place.file if one.place else None)
        if switches.show(one):
            kept.append(one)
            if switches.ignore and prevents(one):
                refused.update((name, None) for name in switches.ignore if matches(name, one.code))
        else:
            hidden = True
    comments = Comments(locator)
    files = []
    for path, text in texts or ():
        locator.know(path, text)
        if may_have(text):
            files.append(path)
    if files or texts is None:
        kept = comments.filter(kept)
    complete = not any(one.severity is Severity.ERROR for one in kept)
    if files:
        kept += [
            one
            for one in comments.problems(files, unused=complete and not hidden)
            if switches_of(one.place.file if one.place else None).show(one)
        ]
    for name in refused:
        text = f"{name} is ignored, but errors that make a plan impossible cannot be switched off"
        kept.append(finding("cannot-ignore", text, None))
    return kept


def _together(found: Iterable[Diagnostic]) -> Sequence[Diagnostic]:
    """Returns the findings with those of :data:`_ONCE` that differ only in their place made one."""
    kept: list[Diagnostic] = []
    first: dict[tuple[str, str], int] = {}
    more: dict[int, int] = {}
    for one in found:
        if one.code in _ONCE:
            index = first.setdefault((one.code, one.message), len(kept))
            if index < len(kept):
                more[index] = more.get(index, 0) + 1
                continue
        kept.append(one)
    for index, count in more.items():
        places = "1 other place" if count == 1 else f"{count:,} other places"
        kept[index] = replace(kept[index], message=f"{kept[index].message} (also in {places})")
    return kept
