"""Marks: what was wrong while a record was measured, so that its figures are not what the hardware can do.

The program says so of its GPUs (throttled, shared, conditions unknown); the plan knows what ran under nsys;
times that do not agree with each other say it themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .codes import printable
from .figures import AS_TESTED, OWN_CALL, format_of

UNDER_NSYS = "measured under nsys, which slows the program"

_KINDS = (
    ("conditions unknown", "conditions unknown"),
    ("shared", " was shared "),
    ("throttled", "throttled"),
    ("nsys", "under nsys"),
    ("unsteady", "unsteady"),
)
_UNSTEADY = 4 / 3
"""Median over minimum from which on something else was at work. On quiet H100s even calls that wait for the
CPU stay below 1.3 (docs/h100); once, on a host that was not, a call under a CUDA graph reached 1.7."""
_TIMED = ("deepep_time", "global_bw", "wire_nvl_bw", "wire_rdma_bw")
"""Figures from the median of the timed iterations."""


def marks_of(run: Mapping[str, Any], record: Mapping[str, Any], figure: str = "deepep_time") -> list[str]:
    """Returns the marks of a figure of a planned run's record, each once.

    What DeepEP's own test prints is measured apart and has its own; in the first format one list is of both.
    """
    told = record.get("marks")
    if figure in AS_TESTED and format_of(record) >= OWN_CALL:
        own_test = record.get("own_test")
        told = own_test.get("marks") if isinstance(own_test, Mapping) else None
    marks = [printable(str(mark)) for mark in told] if isinstance(told, list) else []
    if profiled(run) and not any(kind_of(mark) == "nsys" for mark in marks):
        marks.append(UNDER_NSYS)
    if figure in _TIMED:
        marks += _unsteady(record)
    return list(dict.fromkeys(marks))


def _unsteady(record: Mapping[str, Any]) -> list[str]:
    """Returns a mark where half of the iterations were much slower than the fastest: such a median is of the
    disturbance.

    Not of what the CPU launches call by call, nor of stand-ins on it; baselines are not judged.
    """
    times = record.get("time_s")
    if not isinstance(times, Mapping) or record.get("stand_in") or record.get("baseline"):
        return []
    median, fastest = times.get("median"), times.get("min")
    known = all(isinstance(one, (int, float)) and one > 0 for one in (median, fastest))
    if not known or record.get("variant") == "eager" or median <= _UNSTEADY * fastest:
        return []
    return [
        f"unsteady: half of the iterations took {median * 1e6:.1f} us or longer, the fastest "
        f"{fastest * 1e6:.1f} us: something else had the CPUs, the links or a GPU; run it again"
    ]


def profiled(run: Mapping[str, Any]) -> bool:
    """Whether the plan runs the program under nsys."""
    definition = run.get("test_definition")
    table = definition.get("nsys") if isinstance(definition, Mapping) else None
    return isinstance(table, Mapping) and bool(table.get("enable", True))


def kind_of(mark: str) -> str:
    """Returns a mark in a word or two."""
    return next((kind for kind, word in _KINDS if word in mark), "marked")


def notes_on_marks(run: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields a sentence for each kind of mark, with the operations that it concerns.

    Of marks that say alike of every GPU one stands for all.
    """
    of_records = [(_name(record), marks_of(run, record)) for record in records]
    yield from _notes("while it was measured", of_records)
    apart = [(_name(record), own_marks(run, record)) for record in records if record.get("own_test")]
    yield from _notes("while DeepEP's own test was measured", apart)


def own_marks(run: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """Returns the marks of what DeepEP's own test prints, without those of the whole record."""
    known = marks_of(run, record)
    return [mark for mark in marks_of(run, record, AS_TESTED[0]) if mark not in known]


def _notes(when: str, of_records: Sequence[tuple[str, list[str]]]) -> Iterator[str]:
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for name, told in of_records:
        for mark in told:
            marks, names = found.setdefault(kind_of(mark), ({}, {}))
            marks[mark] = names[name] = None
    for marks, names in found.values():
        where = "" if len(names) == len(of_records) else f" ({', '.join(names)})"
        more = f", and {len(marks) - 1} more such" if len(marks) > 1 else ""
        yield f"{when}{where}: {next(iter(marks))}{more}"


def _name(record: Mapping[str, Any]) -> str:
    variant = record.get("variant")
    return f"{record.get('operation')}" + (f" ({variant})" if variant else "")
