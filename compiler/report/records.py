"""Reads one record of results.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compiler.report.host_judge import AS_TESTED, as_tested, kernel_time, marks_of
from compiler.report.model import OwnTest, RankTime, Record
from compiler.report.values import mapping, number, objects, text

_PERCENTILES = ("min", "p50", "p90", "p95", "p99", "max")


def read_record(
    record: Mapping[str, Any], records: Sequence[Mapping[str, Any]], run: Mapping[str, Any]
) -> Record:
    """Returns what the page shows of a record, whatever that holds.

    ``records`` are all of its run, ``run`` is that in the plan.
    """
    times = mapping(record.get("time_s"))
    checked = mapping(record.get("correctness"))
    ranks = []
    for item in objects(record.get("per_rank")):
        median, low, high = (number(item.get(key)) for key in ("median_s", "min_s", "max_s"))
        if isinstance(item.get("rank"), int) and median is not None and low is not None and high is not None:
            ranks.append(RankTime(item["rank"], text(item.get("host")), median, low, high))
    total = number(mapping(record.get("bytes")).get("global"))
    notes = record.get("notes")
    marks = marks_of(run, record)
    tested = as_tested(record, records)
    return Record(
        operation=text(record.get("operation")) or "all",
        variant=text(record.get("variant")),
        primary=record.get("primary") is not False and record.get("baseline") is not True,
        baseline=record.get("baseline") is True,
        backend=text(record.get("backend")),
        data_type=text(record.get("data_type")),
        global_bw=number(record.get("global_bw")),
        deepep_time=number(record.get("deepep_time")),
        simple_nvl_bw=number(record.get("simple_nvl_bw")),
        simple_rdma_bw=number(record.get("simple_rdma_bw")),
        wire_nvl_bw=number(record.get("wire_nvl_bw")),
        wire_rdma_bw=number(record.get("wire_rdma_bw")),
        kernel_time=number(kernel_time(record)),
        epilogue_time=number(record.get("epilogue_time")),
        own_test=_own_test(record.get("own_test"), marks_of(run, record, AS_TESTED[0])),
        as_tested={key: value for key in AS_TESTED if (value := number(tested.get(key))) is not None},
        tested_marks=marks_of(run, tested, AS_TESTED[0]),
        percentiles={key: value for key in _PERCENTILES if (value := number(times.get(key))) is not None},
        total_time=number(record.get("total_time")),
        timing=text(record.get("timing")),
        counting=text(record.get("counting")),
        bytes_total=int(total) if total is not None else None,
        correctness=_checked(checked),
        ranks=ranks,
        versions={key: text(value) for key, value in mapping(record.get("versions")).items() if value},
        notes=[text(note) for note in notes if text(note) not in marks] if isinstance(notes, list) else [],
        marks=marks,
    )


def _own_test(value: object, marks: Sequence[str]) -> OwnTest | None:
    if not isinstance(value, dict):
        return None
    parts = {str(key): found for key, part in mapping(value.get("parts")).items() if (found := number(part))}
    return OwnTest(
        text(value.get("call")), text(value.get("method")), number(value.get("seconds")), parts, marks
    )


def _checked(checked: Mapping[str, Any]) -> str:
    if not checked:
        return "not checked"
    states = []
    for when in ("before", "after"):
        outcome = checked.get(when)
        word = "right" if outcome is True else "wrong" if outcome is False else "not checked"
        states.append(f"{word} {when} timing")
    elements, error = checked.get("elements_checked"), number(checked.get("max_abs_error"))
    if isinstance(elements, int):
        states.append(f"{elements:,} elements compared")
    if error is not None:
        states.append(f"largest error {error:.3g}")
    return ", ".join(states)
