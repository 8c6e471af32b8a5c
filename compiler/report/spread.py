"""Which ranks, hosts, senders, receivers and links of a run are slow, from its records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compiler.compare.spread import (
    LinkOutlier,
    Outlier,
    by_host,
    host_outliers,
    link_outliers,
    rank_outliers,
    spread_of,
)
from compiler.report.model import Record, SpreadFact, Straggler

LARGEST_MATRIX = 64
"""Ranks up to which links are examined one by one; above, the links between hosts are."""


def spread_facts(run: str, anchor: str, records: Sequence[Record]) -> Iterator[SpreadFact]:
    """Yields the spread of every operation with a time for each rank."""
    for record in records:
        if len(record.ranks) < 2:
            continue
        found = spread_of([time.median_s for time in record.ranks])
        yield SpreadFact(
            run=run,
            anchor=anchor,
            operation=record.name,
            ranks=found.number,
            median_s=found.median,
            mad_s=found.mad,
            relative=found.relative,
            outliers=[*_ranks_and_hosts(record), *_links(record)],
        )


def _ranks_and_hosts(record: Record) -> Iterator[Straggler]:
    rows = [{"rank": t.rank, "host": t.host, "median_s": t.median_s} for t in record.ranks]
    hosts = host_outliers(rows, "median_s")
    yield from (_straggler("host", one) for one in hosts)
    named = {one.label for one in hosts}
    for one in rank_outliers(rows, "median_s"):
        # What a host as a whole says is not said again for each of its ranks.
        if not any(one.label.endswith(f"({host})") for host in named):
            yield _straggler("rank", one)


def _links(record: Record) -> Iterator[Straggler]:
    matrix = record.link_time
    hosts = [time.host for time in record.ranks]
    if matrix is None or len(matrix) != len(hosts) or any(len(row) != len(hosts) for row in matrix):
        return
    labels = [f"rank {time.rank} ({time.host})" for time in record.ranks]
    if len(hosts) > LARGEST_MATRIX:
        matrix, labels = by_host(matrix, hosts)
    if len(labels) < 2:
        return
    for one in link_outliers(matrix, labels, higher_is_slower=True):
        yield _straggler(one.role.value, one)


def _straggler(role: str, one: Outlier | LinkOutlier) -> Straggler:
    return Straggler(role, one.label, one.relative, one.speed.value)
