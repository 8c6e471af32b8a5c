"""Which ranks, hosts, senders, receivers and links of a run are slow, from its records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from compiler.compare.spread import (
    LinkOutlier,
    Outlier,
    by_host,
    host_outliers,
    link_outliers,
    rank_outliers,
    spread_of,
)
from compiler.report.model import Links, Record, SpreadFact, Straggler

LARGEST_MATRIX = 64
"""Ranks up to which links are examined one by one; above, the links between hosts are."""


SLOW_LINK = 0.2
"""By how much of the usual time a sender, receiver or link must be slower to be worth a word."""

LINKS = "links"
"""What stands for the operation where the spread is that of the links."""


def spread_facts(
    run: str, anchor: str, records: Sequence[Record], links: Links | None, name_links: bool = True
) -> Iterator[SpreadFact]:
    """Yields the spread of every operation with a time for each rank, and of the links between the ranks.

    Without ``name_links`` no link is called slow.
    """
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
            outliers=list(_ranks_and_hosts(record)),
        )
    if links is None or len(links.hosts) < 2:
        return
    found = spread_of([cell for row in links.time_s for cell in row if cell is not None])
    yield SpreadFact(
        run=run,
        anchor=anchor,
        operation=LINKS,
        ranks=len(links.hosts),
        median_s=found.median,
        mad_s=found.mad,
        relative=found.relative,
        outliers=list(_slow_links(links)) if name_links else [],
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


def _slow_links(links: Links) -> Iterator[Straggler]:
    labels = [f"rank {rank} ({host})" for rank, host in enumerate(links.hosts)]
    matrix: Sequence[Sequence[float | None]] = links.time_s
    if len(labels) > LARGEST_MATRIX:
        matrix, labels = by_host(matrix, links.hosts)
    else:
        matrix = _of_its_kind(links)
    if len(labels) < 2:
        return
    for one in link_outliers(matrix, labels, higher_is_slower=True):
        if one.relative > SLOW_LINK:
            yield _straggler(one.role.value, one)


def _of_its_kind(links: Links) -> list[list[float | None]]:
    """Returns each time over the usual one of its kind: inside a host, or between hosts."""
    usual = {
        same: median(cells)
        for same in (True, False)
        if (cells := [cell for cell, inside in _cells(links) if cell is not None and inside is same])
    }
    flat = iter(_cells(links))
    return [
        [None if cell is None else cell / usual[inside] for cell, inside in (next(flat) for _ in row)]
        for row in links.time_s
    ]


def _cells(links: Links) -> Iterator[tuple[float | None, bool]]:
    """Yields every time, and whether it is that of a link inside a host."""
    for sender, row in enumerate(links.time_s):
        for receiver, cell in enumerate(row):
            yield cell, links.hosts[sender] == links.hosts[receiver]


def _straggler(role: str, one: Outlier | LinkOutlier) -> Straggler:
    return Straggler(role, one.label, one.relative, one.speed.value)
