"""Values of an inventory as YAML. YAML reads JSON, but for a few characters that it does not print."""

from __future__ import annotations

import json
import re

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def value(data: object) -> str:
    """Returns ``data`` (what JSON can hold) in YAML's flow style, in one line; texts always in quotes."""
    text = json.dumps(data, ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def key(name: str) -> str:
    """Returns a text as a mapping's key or a list's item: plain where every YAML reader finds a text."""
    if _PLAIN.fullmatch(name) and name.lower() not in _WORDS:
        return name
    return value(name)
