"""Finds error signatures in logs: each log is read once, in pieces, however long it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .catalogue import SIGNATURES, Signature
from .catalogue.launchers import BLAME, CONSEQUENCE, EXIT_BARRIER, LAUNCHER_ERRORS, STOP

_SPECIFIC = tuple(s for s in SIGNATURES if s.id not in ("peer-lost", "child-failed", "traceback"))
_PIECE = 1 << 20
_LONGEST_LINE = 4 << 20
_TRACEBACK_LINES = 200
_LONGEST_MESSAGE = 2000
_MOST_VOTES = 20_000
_RANK_PREFIX = re.compile(rb"^\[(?:rank|default)\s*\d+\]:?\s?")


class Finding(NamedTuple):
    """The first line of a log that shows a signature; ``lines`` lines of the log do."""

    signature: Signature
    line: int
    text: str
    lines: int
    after_stop: bool


class Accusation(NamedTuple):
    """Whom a kernel's line accuses, by what the line has: see :class:`.catalogue.model.Signature`."""

    waited: int | None
    rank: int | None
    node: int | None
    gpu: int | None
    own: int | None


class Vote(NamedTuple):
    """The first line with which one accusation stands in a log."""

    signature: Signature
    line: int
    text: str


class LogScan(NamedTuple):
    """What one log shows. ``blamed`` counts (rank, host) that other ranks name as the cause; ``votes`` are
    what kernels that waited in vain say of the peer that they waited for.
    """

    findings: list[Finding]
    blamed: dict[tuple[int, str], int]
    votes: dict[Accusation, Vote]


def scan_log(path: Path) -> LogScan:
    """Returns the findings of one log in the order of its lines. Raises OSError."""
    first: dict[str, Finding] = {}
    counts: dict[str, int] = {}
    blamed: dict[tuple[int, str], int] = {}
    excused: dict[bytes, int] = {}
    votes: dict[Accusation, Vote] = {}
    stop_line: int | None = None
    harmless: tuple[bytes, ...] = ()
    for base, piece in _pieces(path):
        if stop_line is None and (b"signal" in piece):
            stop = STOP.search(piece)
            if stop:
                stop_line = base + piece.count(b"\n", 0, stop.start())
        if b" on host " in piece:
            for match in BLAME.finditer(piece):
                culprit = (int(match.group(1)), match.group(2).decode("utf-8", "replace"))
                blamed[culprit] = blamed.get(culprit, 0) + 1
            for match in CONSEQUENCE.finditer(piece):
                speaker = _speaker(piece, piece.rfind(b"\n", 0, match.start()) + 1)
                excused.setdefault(speaker, base + piece.count(b"\n", 0, match.start()))
        harmless += tuple(_prefixes(piece, EXIT_BARRIER))
        taken: set[int] = set()
        for signature in SIGNATURES:
            for start in _hits(piece, signature):
                begin = piece.rfind(b"\n", 0, start) + 1
                if begin in taken or piece.startswith(harmless, begin):
                    continue
                taken.add(begin)
                text = _exception(piece, begin) if signature.id == "traceback" else _line(piece, begin)
                if signature.id == "traceback" and _is_known(text):
                    continue
                counts[signature.id] = counts.get(signature.id, 0) + 1
                line = base + piece.count(b"\n", 0, begin)
                if signature.suspect is not None and len(votes) < _MOST_VOTES:
                    accusation = _accusation(signature, piece[begin : begin + _LONGEST_MESSAGE])
                    if accusation is not None:
                        votes.setdefault(accusation, Vote(signature, line, text))
                if signature.id in first or line >= excused.get(_speaker(piece, begin), line + 1):
                    continue
                late = stop_line is not None and line >= stop_line
                first[signature.id] = Finding(signature, line, text, 1, late)
    findings = [f._replace(lines=counts[name]) for name, f in first.items()]
    return LogScan(sorted(findings, key=lambda f: f.line), blamed, votes)


def _accusation(signature: Signature, message: bytes) -> Accusation | None:
    """Returns whom a line accuses. ``message`` begins with the line; kernels of one GPU may share it."""
    end = message.find(b"\n")
    match = signature.suspect.search(message if end < 0 else message[:end]) if signature.suspect else None
    if match is None:
        return None
    said = {name: int(value) for name, value in match.groupdict().items() if value is not None}
    return Accusation(*(said.get(name) for name in Accusation._fields))


def _pieces(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yields whole lines in pieces, each with the number of its first line."""
    base = 1
    rest = b""
    with path.open("rb") as file:
        while True:
            read = file.read(_PIECE)
            piece = rest + read
            if read and len(piece) < _LONGEST_LINE:
                cut = piece.rfind(b"\n") + 1
                piece, rest = piece[:cut], piece[cut:]
            else:
                rest = b""
            if piece:
                yield base, piece
                base += piece.count(b"\n")
            if not read:
                return


def _hits(piece: bytes, signature: Signature) -> Iterator[int]:
    for anchor in signature.anchors:
        start = piece.find(anchor)
        while start >= 0:
            end = piece.find(b"\n", start)
            end = len(piece) if end < 0 else end
            if signature.pattern is None:
                yield start
            else:
                begin = piece.rfind(b"\n", 0, start) + 1
                if signature.pattern.search(piece[begin:end]):
                    yield start
            start = piece.find(anchor, end)


def _prefixes(piece: bytes, message: bytes) -> Iterator[bytes]:
    """Yields the logger's prefix (level, time, process, place) of every line that holds ``message``."""
    start = piece.find(message)
    while start >= 0:
        begin = piece.rfind(b"\n", 0, start) + 1
        if start > begin:
            yield piece[begin:start]
        start = piece.find(message, start + 1)


def _speaker(piece: bytes, begin: int) -> bytes:
    """Returns the prefix ``[rank N]`` of a line, or nothing. What a consequence says further is one too."""
    match = _RANK_PREFIX.match(piece[begin : begin + 32])
    return match.group().strip() if match else b""


def _line(piece: bytes, begin: int) -> str:
    end = piece.find(b"\n", begin)
    return piece[begin : end if end >= 0 else len(piece)].decode("utf-8", "replace")


def _is_known(exception: str) -> bool:
    """Whether a traceback ends in an error that the catalogue knows: that line is found as what it is."""
    if any(name in exception for name in LAUNCHER_ERRORS):
        return True
    line = exception.encode("utf-8", "replace")
    return any(next(_hits(line, signature), None) is not None for signature in _SPECIFIC)


def _exception(piece: bytes, begin: int) -> str:
    """Returns the line that names the exception: the first one below the traceback that is not indented."""
    lines = piece[begin : begin + 65536].split(b"\n")[1:_TRACEBACK_LINES]
    for line in lines:
        bare = _RANK_PREFIX.sub(b"", line)
        if bare.strip() and not bare.startswith((b" ", b"\t")):
            return bare.decode("utf-8", "replace")
    return _line(piece, begin)
