"""Spread over ranks, hosts and links on made-up times."""

from __future__ import annotations

import math
import random

import pytest

from compiler.compare import spread
from compiler.compare.spread import Role, Speed


def ranks(
    slow: dict[str, float], hosts: int = 4, per_host: int = 4, seed: int = 1
) -> list[dict[str, object]]:
    """Returns ``per_rank`` with 1 % noise; ``slow`` multiplies times by host or by ``rank N``."""
    noise = random.Random(seed)  # noqa: S311 - simulated data
    entries: list[dict[str, object]] = []
    for rank in range(hosts * per_host):
        host = f"node{rank // per_host + 1}"
        factor = slow.get(host, 1.0) * slow.get(f"rank {rank}", 1.0)
        entries.append({"rank": rank, "host": host, "mean_s": 0.004 * factor * noise.gauss(1, 0.01)})
    return entries


def matrix(
    size: int, slow: dict[tuple[int | None, int | None], float], seed: int = 1
) -> list[list[float | None]]:
    """Returns link bandwidths in GB/s; ``slow`` divides a row (s, None), column (None, d) or link (s, d)."""
    noise = random.Random(seed)  # noqa: S311 - simulated data
    return [
        [
            None
            if s == d
            else 40
            * noise.gauss(1, 0.01)
            / math.prod(slow.get(k, 1.0) for k in ((s, None), (None, d), (s, d)))
            for d in range(size)
        ]
        for s in range(size)
    ]


LABELS = [f"rank {rank}" for rank in range(8)]


def test_median_and_mad() -> None:
    found = spread.spread_of([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (found.median, found.mad, found.minimum, found.maximum) == (3.0, 1.0, 1.0, 100.0)
    assert found.relative == pytest.approx(1.4826 / 3, rel=1e-4)
    with pytest.raises(ValueError, match="no values"):
        spread.spread_of([])


def test_one_slow_rank_is_named() -> None:
    found = spread.rank_outliers(ranks({"rank 5": 1.3}))
    assert [(one.label, one.speed) for one in found] == [("rank 5 (node2)", Speed.SLOW)]
    assert found[0].relative == pytest.approx(0.3, abs=0.05)


def test_a_quarter_of_slow_ranks_does_not_hide_itself() -> None:
    found = spread.rank_outliers(ranks({"node3": 1.4}))
    assert {one.label for one in found} == {f"rank {rank} (node3)" for rank in range(8, 12)}


def test_a_straggling_host_stands_out() -> None:
    found = spread.host_outliers(ranks({"node2": 1.25}, hosts=6))
    assert [(one.label, one.speed) for one in found] == [("node2", Speed.SLOW)]


@pytest.mark.parametrize("hosts", [2, 3])
def test_with_few_hosts_all_ranks_have_to_agree(hosts: int) -> None:
    assert [one.label for one in spread.host_outliers(ranks({"node2": 1.25}, hosts=hosts))] == ["node2"]
    assert spread.host_outliers(ranks({"node2": 1.02}, hosts=hosts)) == []
    assert spread.host_outliers(ranks({"rank 5": 1.5}, hosts=hosts)) == []


def test_one_host_and_few_ranks_say_nothing() -> None:
    assert spread.host_outliers(ranks({}, hosts=1)) == []
    assert spread.host_outliers(ranks({"node2": 2.0}, per_host=1, hosts=2)) == []
    assert spread.rank_outliers(ranks({"rank 1": 9.0}, hosts=1, per_host=3)) == []


def test_agreement_to_a_fraction_of_a_percent_is_no_outlier() -> None:
    assert spread.outliers({str(i): 1.0 + (0.004 if i == 3 else 0.0) for i in range(16)}) == []
    assert [one.label for one in spread.outliers({str(i): 1.0 + (i == 3) for i in range(16)})] == ["3"]


def test_bandwidth_turns_slow_and_fast_round() -> None:
    values = {"a": 40.0, "b": 40.5, "c": 39.5, "d": 40.2, "e": 20.0}
    assert [one.speed for one in spread.outliers(values, higher_is_slower=False)] == [Speed.SLOW]
    assert [one.speed for one in spread.outliers(values)] == [Speed.FAST]


@pytest.mark.parametrize("number", [4, 5, 8, 16, 64])
def test_normal_noise_is_rarely_called_an_outlier(number: int) -> None:
    noise = random.Random(number)  # noqa: S311 - simulated data
    sets, called = 2000, 0
    for _ in range(sets):
        values = {str(i): noise.gauss(1.0, 0.05) for i in range(number)}
        called += bool(spread.outliers(values))
    assert called / sets <= spread.FALSE_OUTLIERS + 0.02


@pytest.mark.parametrize(
    ("slow", "role", "label"),
    [
        ((3, None), Role.SENDER, "rank 3"),
        ((None, 6), Role.RECEIVER, "rank 6"),
        ((2, 5), Role.LINK, "rank 2 -> rank 5"),
    ],
)
def test_sender_receiver_and_link_are_told_apart(
    slow: tuple[int | None, int | None], role: Role, label: str
) -> None:
    found = spread.link_outliers(matrix(8, {slow: 1.5}), LABELS, higher_is_slower=False)
    assert [(one.role, one.label, one.speed) for one in found] == [(role, label, Speed.SLOW)]
    assert found[0].relative == pytest.approx(1 / 1.5 - 1, abs=0.05)


def test_a_slow_sender_and_a_slow_receiver_at_once() -> None:
    found = spread.link_outliers(matrix(8, {(1, None): 1.5, (None, 4): 2.0}), LABELS, higher_is_slower=False)
    assert {(one.role, one.label) for one in found} == {(Role.SENDER, "rank 1"), (Role.RECEIVER, "rank 4")}


def test_an_even_matrix_has_no_outliers_and_gaps_are_no_links() -> None:
    even = matrix(8, {})
    assert spread.link_outliers(even, LABELS, higher_is_slower=False) == []
    even[2] = [None] * 8
    assert spread.link_outliers(even, LABELS, higher_is_slower=False) == []
    assert spread.link_outliers([[None] * 8] * 8, LABELS, higher_is_slower=False) == []


def test_a_matrix_that_fits_no_labels_is_an_error() -> None:
    with pytest.raises(ValueError, match="not 8 x 8"):
        spread.link_outliers([[1.0]], LABELS, higher_is_slower=True)


def test_links_between_hosts() -> None:
    cells, names = spread.by_host(matrix(4, {}), ["a", "a", "b", "b"])
    assert names == ["a", "b"]
    assert cells[0][0] is None and cells[1][1] is None
    assert cells[0][1] == pytest.approx(40, rel=0.05)
