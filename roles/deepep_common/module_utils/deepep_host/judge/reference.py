"""Holds a run's figures against reference values.

A reference is data: what it matches, a figure, its value and tolerance, and where it comes from
(reference.schema.json). Every key of ``match`` must be equal to the record's, or to the hardware's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .figures import OWN_CALL, format_of
from .hardware import Hardware

KERNEL_TIME = "kernel_time"
"""The figure that changed its meaning: of DeepEP's own test, or of the record's own call."""

TIMES = ("deepep_time", KERNEL_TIME, "total_time")
"""Figures of which less is better."""

WITHIN, WORSE, BETTER = "within", "worse", "better"


def compare_record(
    record: Mapping[str, Any], hardware: Hardware, references: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Returns one comparison for each reference that fits a record (``$defs/against`` of the summary)."""
    found = []
    for reference in references:
        value = record.get(str(reference["figure"]))
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not fits(record, hardware, reference)
            or not _of_one_call(record, reference)
        ):
            continue
        expected, tolerance = float(reference["value"]), float(reference["tolerance"])
        ratio = value / expected
        gain = 1 / ratio if reference["figure"] in TIMES and ratio else ratio
        outcome = WORSE if gain < 1 - tolerance else BETTER if gain > 1 + tolerance else WITHIN
        provenance = reference.get("provenance")
        found.append(
            {
                "operation": record.get("operation"),
                "figure": reference["figure"],
                "value": value,
                "reference": expected,
                "tolerance": tolerance,
                "ratio": ratio,
                "outcome": outcome,
                "source": str(provenance.get("source", "")) if isinstance(provenance, dict) else "",
            }
        )
    return found


def _of_one_call(record: Mapping[str, Any], reference: Mapping[str, Any]) -> bool:
    """Whether both mean the same by their figure: one that names no format is of DeepEP's own test."""
    return (
        reference["figure"] != KERNEL_TIME or "schema" in reference["match"] or format_of(record) < OWN_CALL
    )


def fits(record: Mapping[str, Any], hardware: Hardware, reference: Mapping[str, Any]) -> bool:
    """Returns whether a reference is of what a record measured."""
    match = reference["match"]
    if match["backend"] != record.get("backend") or match["operation"] != record.get("operation"):
        return False  # most do not fit: decided first
    return all(_equal(key, wanted, record, hardware) for key, wanted in match.items())


def _equal(key: str, wanted: Any, record: Mapping[str, Any], hardware: Hardware) -> bool:
    if key == "gpu":
        # Whole words: H20 is not H200, and H100 PCIe is another GPU than H100.
        pattern = rf"(?<![A-Za-z0-9]){re.escape(str(wanted))}(?![A-Za-z0-9]| PCIe| NVL)"
        return bool(hardware.gpus) and all(re.search(pattern, gpu) for gpu in hardware.gpus)
    if key == "cpu":
        return hardware.cpus == (wanted,)
    if key == "nic_gbit_s":
        return bool(hardware.nic_gbit_s == wanted)
    if key == "deep_ep":
        versions = record.get("versions")
        version = versions.get("deep_ep") if isinstance(versions, dict) else None
        return (
            isinstance(version, str) and re.match(rf"{re.escape(str(wanted))}(?:[.+]|$)", version) is not None
        )
    if key == "schema":
        return format_of(record) >= int(wanted)
    value = sms_used(record) if key == "num_sms" else record.get(key)
    if isinstance(wanted, Mapping):
        # What a reference leaves out of a table may be anything.
        return isinstance(value, Mapping) and all(value.get(name) == part for name, part in wanted.items())
    return type(value) is type(wanted) and bool(value == wanted)


def sms_used(record: Mapping[str, Any]) -> Any:
    """Returns how many SMs were really used, or asked for where a record does not tell."""
    effective = record.get("effective")
    used = effective.get("num_sms") if isinstance(effective, Mapping) else None
    return record.get("num_sms") if used is None else used
