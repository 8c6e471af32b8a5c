"""Words and values in messages, written one way everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from compiler.diagnostics.model import KeyPath

_LONGEST_VALUE = 60


def key_text(path: KeyPath) -> str:
    """Returns a path as users write it: ``Tests[0].cmd_args.tokens``."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += f".{bare(key)}" if text else bare(key)
    return text


def bare(key: str) -> str:
    """Returns a key as TOML wants it: quoted where it must be."""
    if key and key.isascii() and key.replace("-", "").replace("_", "").isalnum():
        return key
    return quoted(key)


def quoted(text: str) -> str:
    """Returns a TOML basic string; characters that could confuse a terminal are escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{printable(escaped)}"'


def printable(text: str) -> str:
    """Returns the text with everything that is not printable (controls, direction marks) as an escape."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else f"\\u{ord(c):04X}" if ord(c) < 0x10000 else f"\\U{ord(c):08X}" for c in text
    )


def value_text(value: object) -> str:
    """Returns a value as TOML writes it, shortened."""
    match value:
        case bool():
            text = "true" if value else "false"
        case str():
            cut = value if len(value) <= _LONGEST_VALUE else value[: _LONGEST_VALUE - 3] + "..."
            return quoted(cut)
        case int() if abs(value) >= 10**_LONGEST_VALUE:
            return f"a number of {value.bit_length() * 30103 // 100000 + 1} digits"
        case list():
            text = (
                "["
                + ", ".join(value_text(item) for item in value[:20])
                + (", ..." if len(value) > 20 else "")
                + "]"
            )
        case dict():
            inside = [f"{bare(key)} = {value_text(item)}" for key, item in list(value.items())[:5]]
            text = "{" + ", ".join(inside) + (", ..." if len(value) > 5 else "") + "}"
        case _:
            text = printable(str(value))
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def listing(words: Iterable[str], last: str = "or", limit: int = 30) -> str:
    """Returns ``a, b or c``."""
    items = list(words)
    if len(items) > limit:
        items = [*items[:limit], f"{len(items) - limit} more"]
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def nearest(word: str, options: Sequence[str]) -> str | None:
    """Returns the option that the word was probably meant to be."""
    folded = {option.casefold().replace("-", "_"): option for option in reversed(options)}
    exact = folded.get(word.casefold().replace("-", "_"))
    if exact is not None:
        return exact
    from difflib import get_close_matches  # slow to import, and needed for findings only

    close = get_close_matches(word[:200].casefold().replace("-", "_"), list(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def plural(count: int, one: str, many: str | None = None) -> str:
    """Returns ``1 error`` or ``2 errors``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
