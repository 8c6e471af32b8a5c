"""Which findings are shown: by code, by the beginning of a code, or by slug."""

from __future__ import annotations

import re
from dataclasses import dataclass

from compiler.diagnostics.codes import all_codes, code_of, prevents
from compiler.diagnostics.model import Diagnostic
from compiler.diagnostics.wording import nearest

_PREFIX = re.compile(r"DEP[0-9]{0,3}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Switches:
    """``select``: only these are shown (empty: all); ``ignore``: these are not (:func:`matches`)."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def show(self, found: Diagnostic) -> bool:
        """Tells whether a finding is shown. What prevents a plan always is."""
        if not self.select and not self.ignore:
            return True
        return prevents(found) or not self.would_hide(found)

    def would_hide(self, found: Diagnostic) -> bool:
        """Tells whether the finding is ignored, or not selected."""
        if any(matches(name, found.code) for name in self.ignore):
            return True
        return bool(self.select) and not any(matches(name, found.code) for name in self.select)


def matches(name: str, code: str) -> bool:
    """Tells whether a code, the beginning of one, or a slug means a code."""
    if _PREFIX.fullmatch(name):
        return code.startswith(name.upper())
    known = code_of(name.lower())
    return known is not None and known.code == code


def unknown_code(name: str) -> str | None:
    """Returns None for a name that means at least one code, else what to write instead."""
    codes = all_codes()
    if any(matches(name, code.code) for code in codes):
        return None
    meant = nearest(name, [one for code in codes for one in (code.slug, code.code)])
    return f"write {meant}" if meant else "deepep-compiler explain lists all codes"
