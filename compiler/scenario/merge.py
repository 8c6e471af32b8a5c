"""Merges an entry's overrides into its test: tables key by key, all else replaced. The scenario wins."""

from __future__ import annotations

from collections.abc import Mapping


def merge(base: Mapping[str, object], override: Mapping[str, object]) -> dict[str, object]:
    """Returns a new table; new keys follow the base's. The reader limits the depth of nesting."""
    merged = dict(base)
    for key, value in override.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
