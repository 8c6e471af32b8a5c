"""Is it good: figures against physical limits and reference values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from compiler.report.host_judge import (
    compare_record,
    limits_of,
    marks_of,
    ratio_to_limit,
    read_hardware,
    stands_for,
    with_gpu,
)
from compiler.report.model import Ratio


def ratios(
    planned: Mapping[str, Any],
    run: str,
    anchor: str,
    records: Sequence[Mapping[str, Any]],
    metadata: Sequence[Path],
    preflight: Path,
    references: Sequence[Mapping[str, Any]],
) -> Iterator[Ratio]:
    """Yields the ratios of a run's records (as in results.json), limits first.

    ``planned`` is the run in the plan, ``metadata`` are its hosts' files, ``preflight`` is the folder of what
    they said before the runs.
    """
    hardware = with_gpu(read_hardware(metadata, preflight), records)
    limits = limits_of(hardware)
    for record in records:
        name = _name(record)
        baseline = record.get("baseline") is True
        for figure, limit in limits.items():
            share = ratio_to_limit(figure, record.get(figure), limits)
            if share is not None:
                value, source = float(record[figure]), limit.source
                yield Ratio(
                    run, anchor, name, figure, value, "limit", limit.rate, share, None, None, source,
                    stands_for(record, figure, records), baseline,
                    marks_of(planned, record, figure),
                )  # fmt: skip
        for one in compare_record(record, hardware, references):
            yield Ratio(
                run, anchor, name, one["figure"], one["value"], "reference", one["reference"], one["ratio"],
                one["tolerance"], one["outcome"], one["source"],
                stands_for(record, one["figure"], records), baseline,
                marks_of(planned, record, one["figure"]),
            )  # fmt: skip


def _name(record: Mapping[str, Any]) -> str:
    operation, variant = str(record.get("operation") or "all"), record.get("variant")
    return f"{operation} ({variant})" if variant and record.get("primary") is False else operation
