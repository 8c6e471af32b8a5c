"""Spread over ranks, hosts and links from the records of one run: which one is slow, and by how much.

Pure functions with the standard library alone. Robust throughout: median and MAD, so that a straggler does
not hide itself by moving the scale with which it is measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist, median

SMALLEST_SCALE = 0.01
"""A robust standard deviation below this share of the median counts as this: ranks that all agree to a
fraction of a percent are no reason to call one of them an outlier."""

FALSE_OUTLIERS = 0.05
"""Probability with which any of the values of a normal distribution is called an outlier, at most."""

CONSISTENT = 1.482602218505602
"""Makes the MAD of a normal distribution its standard deviation."""

MIN_VALUES = 4
"""Among fewer values a majority that agrees cannot be told from chance."""

FEW_HOSTS_GAP = 0.05
"""With two or three hosts: how much slower than all others, as a share, a host's ranks have to be."""

_FEW_HOSTS_MIN_RANKS = 4
_SWEEPS = 20


class Speed(StrEnum):
    """On which side of the others an outlier lies."""

    SLOW = "slow"
    FAST = "fast"


class Role(StrEnum):
    """What of a link matrix is an outlier: a row, a column, or one link alone."""

    SENDER = "sender"
    RECEIVER = "receiver"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and spread of positive values, in their own unit. ``mad`` is the median absolute deviation."""

    number: int
    median: float
    mad: float
    minimum: float
    maximum: float

    @property
    def relative(self) -> float:
        """Robust coefficient of variation: 1.4826 MAD over the median."""
        return CONSISTENT * self.mad / self.median if self.median else 0.0


@dataclass(frozen=True, slots=True)
class Outlier:
    """A value far from the others. ``relative`` is value over median minus 1, ``score`` the modified z-score.

    ``score`` is infinite where the number of hosts is too small for one and all ranks agree instead.
    """

    label: str
    value: float
    relative: float
    score: float
    speed: Speed


@dataclass(frozen=True, slots=True)
class LinkOutlier:
    """A slow or fast sender, receiver or link. ``relative``: how far it is from what the rest predicts.

    ``label`` is the rank's (or host's) label; for a link, ``"sender -> receiver"``.
    """

    role: Role
    label: str
    relative: float
    score: float
    speed: Speed


def spread_of(values: Sequence[float]) -> Spread:
    """Returns median, MAD and range. Raises ValueError for no values."""
    if not values:
        raise ValueError("no values")
    middle = median(values)
    return Spread(
        len(values), middle, median(abs(value - middle) for value in values), min(values), max(values)
    )


def cutoff(number: int) -> float:
    """Returns the modified z-score above which one of ``number`` values is an outlier.

    The usual 3.5 calls one in every fifth set of five values of a normal distribution, and in every third
    set of a thousand. This is the normal quantile for that many values, widened for the uncertainty of the
    MAD by factors fitted to a simulation (docs/compare.md); an odd number of values makes the MAD smaller.
    """
    if number < MIN_VALUES:
        return math.inf
    widened = 1 + (10.5 if number % 2 else 8.0) / number
    return NormalDist().inv_cdf(1 - FALSE_OUTLIERS / 2 / number) * widened


def outliers(values: Mapping[str, float], *, higher_is_slower: bool = True) -> list[Outlier]:
    """Returns the outliers among labelled positive values, the farthest first; none among fewer than four.

    ``higher_is_slower`` is true for times and false for bandwidths.
    """
    if len(values) < MIN_VALUES:
        return []
    found = spread_of(list(values.values()))
    scale = max(CONSISTENT * found.mad, SMALLEST_SCALE * abs(found.median))
    if scale == 0:
        return []
    limit = cutoff(len(values))
    result = []
    for label, value in values.items():
        score = (value - found.median) / scale
        if abs(score) > limit:
            relative = value / found.median - 1 if found.median else 0.0
            result.append(Outlier(label, value, relative, abs(score), _speed(score, higher_is_slower)))
    return sorted(result, key=lambda one: -one.score)


def rank_outliers(per_rank: Sequence[Mapping[str, object]], key: str = "mean_s") -> list[Outlier]:
    """Returns the outliers among the ranks of a record's ``per_rank``; labels are ``"rank 3 (node2)"``."""
    values = {
        f"rank {entry.get('rank')} ({entry.get('host')})": float(value)
        for entry in per_rank
        if isinstance(value := entry.get(key), (int, float))
    }
    return outliers(values)


def host_outliers(per_rank: Sequence[Mapping[str, object]], key: str = "mean_s") -> list[Outlier]:
    """Returns the outliers among hosts, each by the median of its ranks; labels are inventory names.

    With two or three hosts there is no majority to measure by. A host then stands out only if each of at
    least four ranks is slower than every rank of every other host, and the medians differ by FEW_HOSTS_GAP;
    of two hosts, the slower one is named.
    """
    ranks: dict[str, list[float]] = {}
    for entry in per_rank:
        if isinstance(value := entry.get(key), (int, float)):
            ranks.setdefault(str(entry.get("host")), []).append(float(value))
    hosts = {host: median(values) for host, values in ranks.items()}
    if len(hosts) >= MIN_VALUES:
        return outliers(hosts)
    if len(hosts) < 2 or min(map(len, ranks.values())) < _FEW_HOSTS_MIN_RANKS:
        return []
    slowest = max(hosts, key=lambda host: hosts[host])
    others = [value for host, values in ranks.items() if host != slowest for value in values]
    relative = hosts[slowest] / median(others) - 1
    if min(ranks[slowest]) <= max(others) or relative < FEW_HOSTS_GAP:
        return []
    return [Outlier(slowest, hosts[slowest], relative, math.inf, Speed.SLOW)]


def link_outliers(
    matrix: Sequence[Sequence[float | None]], labels: Sequence[str], *, higher_is_slower: bool
) -> list[LinkOutlier]:
    """Returns slow and fast senders (rows), receivers (columns) and single links of a square matrix.

    ``matrix[s][d]`` belongs to what rank s sends to rank d: a time (``higher_is_slower``) or a bandwidth;
    None where there is no such link or it was not measured. Rows and columns are separated by median polish
    of the logarithms, so that a slow sender does not make all receivers look slow. Raises ValueError for a
    matrix that is not square or does not fit the labels.
    """
    size = len(labels)
    if len(matrix) != size or any(len(row) != size for row in matrix):
        raise ValueError(f"the matrix is not {size} x {size}, as its labels are")
    logs = [[math.log(cell) if cell is not None and cell > 0 else None for cell in row] for row in matrix]
    rows, columns, residuals = _median_polish(logs)
    links = {
        f"{labels[s]} -> {labels[d]}": residual
        for s, line in enumerate(residuals)
        for d, residual in enumerate(line)
        if residual is not None
    }
    found = []
    for role, effects in (
        (Role.SENDER, {labels[s]: effect for s, effect in enumerate(rows) if effect is not None}),
        (Role.RECEIVER, {labels[d]: effect for d, effect in enumerate(columns) if effect is not None}),
        (Role.LINK, links),
    ):
        # Effects are logarithms around 0; as ratios they are positive with a median near 1.
        ratios = {label: math.exp(effect) for label, effect in effects.items()}
        found += [
            LinkOutlier(role, one.label, one.relative, one.score, one.speed)
            for one in outliers(ratios, higher_is_slower=higher_is_slower)
        ]
    return found


def by_host(
    matrix: Sequence[Sequence[float | None]], hosts: Sequence[str]
) -> tuple[list[list[float | None]], list[str]]:
    """Returns the matrix between hosts (medians over their ranks) and the hosts' names.

    ``hosts[rank]`` is the rank's host. Links inside a host are left out: they are of another kind.
    """
    names = list(dict.fromkeys(hosts))
    cells: dict[tuple[str, str], list[float]] = {}
    for s, row in enumerate(matrix):
        for d, cell in enumerate(row):
            if cell is not None and hosts[s] != hosts[d]:
                cells.setdefault((hosts[s], hosts[d]), []).append(cell)
    return [[median(cells[s, d]) if (s, d) in cells else None for d in names] for s in names], names


def _median_polish(
    logs: Sequence[Sequence[float | None]],
) -> tuple[list[float | None], list[float | None], list[list[float | None]]]:
    """Returns the effects of rows and columns and what they leave; None where a row or column is empty."""
    size = len(logs)
    rest = [list(row) for row in logs]
    rows: list[float | None] = [0.0 if any(c is not None for c in row) else None for row in rest]
    columns: list[float | None] = [
        0.0 if any(row[d] is not None for row in rest) else None for d in range(size)
    ]
    for _ in range(_SWEEPS):
        largest = 0.0
        for s in range(size):
            known = [cell for cell in rest[s] if cell is not None]
            if known:
                shift = median(known)
                rest[s] = [None if cell is None else cell - shift for cell in rest[s]]
                rows[s] = (rows[s] or 0.0) + shift
                largest = max(largest, abs(shift))
        for d in range(size):
            known = [cell for row in rest if (cell := row[d]) is not None]
            if known:
                shift = median(known)
                for row in rest:
                    if (cell := row[d]) is not None:
                        row[d] = cell - shift
                columns[d] = (columns[d] or 0.0) + shift
                largest = max(largest, abs(shift))
        if largest < 1e-9:
            break
    # The common part stays in the rows until here; effects are around their own median.
    for effects in (rows, columns):
        known = [effect for effect in effects if effect is not None]
        middle = median(known) if known else 0.0
        effects[:] = [None if effect is None else effect - middle for effect in effects]
    return rows, columns, rest


def _speed(score: float, higher_is_slower: bool) -> Speed:
    return Speed.SLOW if (score > 0) == higher_is_slower else Speed.FAST
