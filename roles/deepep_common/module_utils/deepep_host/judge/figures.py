"""What a figure of ``results.json`` is of: which record stands for its operation, and which call it timed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

OWN_CALL = 2
"""The record format from which on ``kernel_time`` is of the record's own call."""

AS_TESTED = ("simple_nvl_bw", "simple_rdma_bw")
"""Figures that DeepEP's own test prints."""

BESIDE = {"alltoall": "NCCL alone", "gather_scatter": "NCCL, gather"}
"""What stands beside each operation's time, by variant: the same bytes alone, and with what a model needs.

Either alone misleads. A stand-in has the same of gloo.
"""


def is_primary(record: Mapping[str, Any]) -> bool:
    """Whether a record is the figure of its operation; further variants and baselines stand beside it."""
    return record.get("primary") is not False and record.get("baseline") is not True


def as_tested(record: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Returns the record that has what DeepEP's own test prints (``AS_TESTED``) for a record's operation.

    That test may have the call of another form of it: V1's repeats a dispatch by its cached handle.
    """
    forms = [record, *(one for one in records if _alike(one) == _alike(record))]
    return next((one for one in forms if any(one.get(key) is not None for key in AS_TESTED)), record)


def stands_for(record: Mapping[str, Any], figure: str, records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a record's figure is its operation's, and not one that stands beside it."""
    if is_primary(record) or figure not in AS_TESTED:
        return is_primary(record)
    return any(as_tested(one, records) is record for one in records if is_primary(one))


def baseline_time(operation: object, variant: str, records: Iterable[Mapping[str, Any]]) -> Any:
    """Returns the time of a baseline of an operation, None where it was not measured."""
    found = (one for one in records if one.get("baseline") is True)
    times = (
        one.get("deepep_time")
        for one in found
        if (one.get("operation"), one.get("variant")) == (operation, variant)
    )
    return next(times, None)


def _alike(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return record.get("operation"), record.get("backend"), record.get("baseline") is True


def kernel_time(record: Mapping[str, Any]) -> Any:
    """Returns the kernel's time in the record's own call, None where ``kernel_time`` is another one's."""
    return record.get("kernel_time") if names_own_call(record) else None


def names_own_call(record: Mapping[str, Any]) -> bool:
    """Whether a record's ``kernel_time`` is of its own call.

    In the first format it is of the call of DeepEP's own test (``own_test.parts.kernel``).
    """
    return format_of(record) != 1


def format_of(record: Mapping[str, Any]) -> int:
    """Returns the format of a record, 0 where it names none: another program's."""
    schema = record.get("schema")
    return schema if isinstance(schema, int) else 0
