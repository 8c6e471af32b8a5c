"""Reads a TOML file. tomli decides what is valid; whatever is wrong becomes a diagnostic."""

from __future__ import annotations

import stat
from pathlib import Path

import tomli

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic, KeyPath, Place
from compiler.document.model import Document

MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 32
"""Tables and lists inside each other. The format needs five; what comes later may recurse safely."""

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_MAX_DIGITS = 4300
"""Python prints no longer ones."""
_MAX_BITS = _MAX_DIGITS * 3


def read_document(path: Path) -> Document | Diagnostic:
    """Returns the document, or the one reason why there is none."""
    raw = _read_bytes(path)
    if isinstance(raw, Diagnostic):
        return raw
    raw = raw.removeprefix(_BOM)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return _not_utf8(path, raw, error)
    try:
        data = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        return _syntax_error(path, text, error)
    except RecursionError:
        return _too_deep(Place(path))
    except ValueError:  # CPython refuses to convert integers beyond this many digits
        return _too_many_digits(path, text)
    return _beyond_limits(path, data) or Document(path, text, data)


def _read_bytes(path: Path) -> bytes | Diagnostic:
    try:
        info = path.stat()
        if stat.S_ISDIR(info.st_mode):
            return _unreadable(path, "it is a directory")
        if not stat.S_ISREG(info.st_mode):  # opening a pipe or a device may never return
            return _unreadable(path, "it is not a regular file")
        if info.st_size > MAX_BYTES:
            return finding(
                "file-limits",
                f"the file has {info.st_size / 2**20:.0f} MiB; the limit is {MAX_BYTES // 2**20} MiB",
                Place(path),
                fix="split it into several files",
            )
        return path.read_bytes()
    except FileNotFoundError:
        return _unreadable(path, "there is no such file")
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        return _unreadable(path, getattr(error, "strerror", None) or str(error))


def _unreadable(path: Path, reason: str) -> Diagnostic:
    return finding("unreadable-file", f"cannot read {path}: {reason}", Place(path))


def _not_utf8(path: Path, raw: bytes, error: UnicodeDecodeError) -> Diagnostic:
    before = raw[: error.start]
    line_start = before.rfind(b"\n") + 1
    place = Place(
        path,
        line=before.count(b"\n") + 1,
        column=len(before[line_start:].decode()) + 1,
    )
    if raw.startswith(_UTF16):
        return finding("not-utf8", "the file is UTF-16", place, fix="save it as UTF-8")
    byte = raw[error.start]
    latin = bytes([byte]).decode("cp1252", "replace")
    return finding(
        "not-utf8",
        f"byte 0x{byte:02x} is not UTF-8 ({latin!r} if the file is Latin-1 or Windows-1252)",
        place,
        fix=f"save it as UTF-8, e.g. iconv -f WINDOWS-1252 -t UTF-8 {path.name}",
    )


def _syntax_error(path: Path, text: str, error: tomli.TOMLDecodeError) -> Diagnostic:
    line, column = error.lineno, error.colno
    place = Place(path, line=line, column=column)
    lines = text.split("\n")
    source = lines[line - 1].rstrip("\r") if line <= len(lines) else ""
    message = error.msg[:1].lower() + error.msg[1:]
    return finding(
        "syntax-error", f"line {line}: {message}", place, fix=_syntax_fix(source, column, error.msg)
    )


def _syntax_fix(source: str, column: int, message: str) -> str:
    value = source.partition("=")[2].strip()
    for quote in ('"', "'"):
        if value.startswith(quote) and not value.startswith(quote * 3) and value.count(quote) == 1:
            return f"close the string: {source.strip()}{quote}"
    if message.startswith("Cannot") or "overwrite" in message:
        return "keep one of the two: TOML allows each key and each [table] once"
    if value in {"True", "False"}:
        return f"TOML writes {value.lower()}"
    if value in {"None", "null"}:
        return "TOML has no null: leave the key out"
    if value[:1].isalpha() and column > source.find("="):
        return f'put text in quotes: {source.partition("=")[0].strip()} = "{value}"'
    return ""


def _too_many_digits(path: Path, text: str) -> Diagnostic:
    for number, line in enumerate(text.split("\n"), start=1):
        start = 0
        run = 0
        for column, character in enumerate(line, start=1):
            if character.isdigit() or character == "_":
                start = start or column
                run += 1
                if run > _MAX_DIGITS:
                    place = Place(path, line=number, column=start)
                    return finding(
                        "syntax-error", f"line {number}: a number of more than {_MAX_DIGITS} digits", place
                    )
            else:
                start = run = 0
    return finding("syntax-error", f"a number of more than {_MAX_DIGITS} digits", Place(path))


def _too_deep(place: Place) -> Diagnostic:
    return finding("file-limits", f"tables or lists are nested more than {MAX_DEPTH} deep", place)


def _beyond_limits(path: Path, data: dict[str, object]) -> Diagnostic | None:
    """Finds what later code, which recurses and prints numbers, could not take; without recursion."""
    stack: list[tuple[KeyPath, object]] = [((), data)]
    while stack:
        where, value = stack.pop()
        if len(where) > MAX_DEPTH:
            return _too_deep(Place(path, where[:1], on_key=True))
        items = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for key, child in items:
            if isinstance(child, dict | list):
                stack.append(((*where, key), child))
            elif type(child) is int and child.bit_length() > _MAX_BITS:  # hexadecimal: tomli takes any
                text = f"a number of more than {_MAX_DIGITS} digits"
                return finding("file-limits", text, Place(path, (*where, key)))
    return None
