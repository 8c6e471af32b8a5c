"""Legal values near one that is not: the way out of a finding."""

from __future__ import annotations

from collections.abc import Iterable

MOST_HOSTS = 4096


def one_of(values: Iterable[object]) -> str:
    """Returns the values as ``1``, ``1 or 2``, ``1, 2 or 3``."""
    words = [str(value) for value in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def nearest(value: int, legal: Iterable[int]) -> list[int]:
    """Returns the greatest legal value below ``value`` and the least above it, as far as there are any."""
    values = sorted(set(legal))
    below = [number for number in values if number < value]
    above = [number for number in values if number > value]
    return below[-1:] + above[:1]


def multiples(value: int, step: int, *, least: int = 1, most: int | None = None) -> list[int]:
    """Returns the multiples of ``step`` around ``value`` between ``least`` and ``most``; at least one."""
    below = value // step * step
    near = [
        number for number in (below, below + step) if number >= least and (most is None or number <= most)
    ]
    if near:
        return near
    if most is not None and value > most:
        return [max(most // step * step, step)]
    return [-(-least // step) * step]


def fitting_hosts(hosts: int, fits: Iterable[int]) -> list[int]:
    """Returns the host counts of ``fits`` next to ``hosts``."""
    return nearest(hosts, (number for number in fits if 0 < number <= MOST_HOSTS))


def hosts_text(numbers: list[int]) -> str:
    """Returns ``4 or 6 hosts``."""
    return f"{one_of(numbers)} host{'' if numbers == [1] else 's'}"


def divisors_text(experts: int, hosts: int, ranks_per_host: int) -> str:
    """Returns ``, or run on 4 or 6 hosts`` with the host counts over which the experts can be split."""
    most = min(2 * hosts + 1, MOST_HOSTS)
    near = fitting_hosts(hosts, (n for n in range(1, most + 1) if experts % (n * ranks_per_host) == 0))
    return f", or run on {hosts_text(near)}" if near else ""
