"""Reads ``limits.toml``: DeepEP's releases, and what each of them demands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tomli

from compiler.diagnostics.model import Severity

REPOSITORY = "deepseek-ai/DeepEP"

LimitValue = Any
"""A number, a list of numbers or names, or a table of them, as ``limits.toml`` has it."""


@dataclass(frozen=True, slots=True)
class Release:
    """A release of DeepEP whose source was read."""

    version: str
    commit: str

    @property
    def has_v2(self) -> bool:
        """Whether the package has ElasticBuffer."""
        return _numbers_of(self.version)[0] >= 2


@dataclass(frozen=True, slots=True)
class Limit:
    """One demand. ``value`` and ``sources`` are by release; without sources a release does not have it."""

    slug: str
    severity: Severity
    requirement: str
    why: str
    value: Mapping[str, LimitValue]
    sources: Mapping[str, tuple[str, ...]]
    also: tuple[str, ...]
    history: str

    def cited(self, release: Release) -> str:
        """Returns the first source line of a release as text for a diagnostic."""
        return f"DeepEP {self.sources[release.version][0]} @ {release.commit}"


@cache
def releases() -> tuple[Release, ...]:
    """Returns the releases, oldest first."""
    return tuple(Release(entry["version"], entry["commit"]) for entry in _data()["release"])


@cache
def limits() -> Mapping[str, Limit]:
    """Returns all limits by slug."""
    return MappingProxyType(
        {
            slug: Limit(
                slug=slug,
                severity=Severity(table["severity"]),
                requirement=table["requirement"],
                why=table["why"],
                value=table.get("value", {}),
                sources={version: tuple(lines) for version, lines in table["source"].items()},
                also=tuple(table.get("also", ())),
                history=table.get("history", ""),
            )
            for slug, table in _data().items()
            if slug != "release"
        }
    )


@cache
def limit_values(version: str) -> Mapping[str, LimitValue]:
    """Returns the values of all limits of a release by slug."""
    return {slug: limit.value[version] for slug, limit in limits().items() if version in limit.value}


@cache
def releases_for(deepep_version: str | None) -> tuple[Release, ...]:
    """Returns the releases that stand for an installed version; all of them where it is not known.

    A version between two releases is taken for the newest one that is not newer than it, within its major
    version; text that is no version is taken as not known.
    """
    known = releases()
    wanted = _numbers_of(deepep_version or "")
    if not wanted:
        return known
    same_major = [release for release in known if _numbers_of(release.version)[0] == wanted[0]]
    if not same_major:
        return known[:1] if wanted < _numbers_of(known[0].version) else known[-1:]
    not_newer = [release for release in same_major if _numbers_of(release.version) <= wanted]
    return (not_newer[-1] if not_newer else same_major[0],)


@cache
def _numbers_of(version: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d{1,6}(?:\.\d{1,6})*)", version, re.ASCII)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


@cache
def _data() -> dict[str, Any]:
    return tomli.loads(Path(__file__).with_name("limits.toml").read_text(encoding="utf-8"))
