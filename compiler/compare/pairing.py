"""Finds for every series of BASE the one of NEW that may be compared with it, or says why none may."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from compiler.compare.labels import name_of, shown
from compiler.compare.model import Difference, LeftOut, Pair, Pairing, Refused, Scalar, Series, Tree, Unpaired
from compiler.compare.tree import UNKNOWN_HARDWARE

_MOVED_TOLERANCE = 0.01
_MAX_DIFFERENCES = 2
"""Series of different places are shown as a refused pair only if they differ in no more than this."""


def pair_trees(base: Tree, new: Tree) -> Pairing:
    """Pairs equal configurations, wherever in the two scenarios they stand.

    Equal settings are matched first; a configuration whose settings were changed is paired if that leaves no
    choice. What is left over is refused together with its nearest counterpart, or unpaired.
    """
    left, right = list(base.series), list(new.series)
    matched = _take(left, right, lambda a, b: _same(a, b) and a.settings == b.settings)
    matched += _take(left, right, lambda a, b: _same(a, b) and bool(set(a.places) & set(b.places)))
    matched += _take(left, right, _same)
    pairs: list[Pair] = []
    refused: list[Refused] = []
    for one, other in matched:
        objections = _objections(one, other)
        if objections:
            refused.append(Refused(one, other, objections))
        else:
            pairs.append(Pair(one, other, _changed(one, other)))
    refused += [Refused(a, b, _different(a.configuration, b.configuration)) for a, b in _nearest(left, right)]
    unpaired = [Unpaired(base.side, series, _why(series, new, new.left_out)) for series in left]
    unpaired += [Unpaired(new.side, series, _why(series, base, base.left_out)) for series in right]
    order = {id(series): number for number, series in enumerate(base.series)}
    return Pairing(
        tuple(sorted(pairs, key=lambda pair: order[id(pair.base)])),
        tuple(sorted(refused, key=lambda pair: order[id(pair.base)])),
        tuple(unpaired),
    )


def _take(
    left: list[Series], right: list[Series], fits: Callable[[Series, Series], bool]
) -> list[tuple[Series, Series]]:
    """Moves out of the lists what fits one to one; where there is a choice nothing is guessed."""
    found = []
    for one in list(left):
        candidates = [other for other in right if fits(one, other)]
        if len(candidates) == 1 and sum(fits(rival, candidates[0]) for rival in left) == 1:
            left.remove(one)
            right.remove(candidates[0])
            found.append((one, candidates[0]))
    return found


def _same(one: Series, other: Series) -> bool:
    return one.configuration == other.configuration


def _objections(one: Series, other: Series) -> tuple[Difference, ...]:
    """Returns what forbids comparing series of equal configuration."""
    if one.configuration["hardware"] == UNKNOWN_HARDWARE:
        return (Difference("hardware", UNKNOWN_HARDWARE, UNKNOWN_HARDWARE),)
    moved = [_mean(start.moved for start in series.starts) for series in (one, other)]
    before, after = moved
    if before is not None and after is not None and abs(after / before - 1) > _MOVED_TOLERANCE:
        return (Difference("bytes of all ranks per iteration", f"{before:.0f}", f"{after:.0f}"),)
    return ()


def _changed(one: Series, other: Series) -> tuple[Difference, ...]:
    found = list(_different(one.settings, other.settings))
    before, after = _circumstances(one), _circumstances(other)
    found.extend(_different(before, after))
    return tuple(found)


def _circumstances(series: Series) -> dict[str, Scalar]:
    found: dict[str, list[str]] = {}
    for start in series.starts:
        for key, value in start.circumstances.items():
            if value not in found.setdefault(key, []):
                found[key].append(value)
    return {key: " / ".join(values) for key, values in found.items()}


def _different(one: Mapping[str, Scalar], other: Mapping[str, Scalar]) -> tuple[Difference, ...]:
    return tuple(
        Difference(name_of(key), shown(key, one.get(key)), shown(key, other.get(key)))
        for key in dict.fromkeys((*one, *other))
        if one.get(key) != other.get(key)
    )


def _nearest(left: list[Series], right: list[Series]) -> list[tuple[Series, Series]]:
    """Moves out of the lists, and returns, series that people would expect to be compared."""
    found = []
    candidates = []
    for one in left:
        for other in right:
            if one.configuration["operation"] != other.configuration["operation"]:
                continue
            elsewhere = not set(one.places) & set(other.places)
            differences = len(_different(one.configuration, other.configuration))
            if not elsewhere or differences <= _MAX_DIFFERENCES:
                candidates.append((elsewhere, differences, one, other))
    for _, _, one, other in sorted(candidates, key=lambda candidate: candidate[:2]):
        if _holds(left, one) and _holds(right, other):
            left[:] = [series for series in left if series is not one]
            right[:] = [series for series in right if series is not other]
            found.append((one, other))
    return found


def _holds(items: Sequence[Series], one: Series) -> bool:
    return any(series is one for series in items)


def _why(series: Series, other: Tree, left_out: Sequence[LeftOut]) -> str:
    runs = [run.run for run in left_out if run.place in series.places]
    if runs:
        return f"its counterparts in {other.side} are left out: {', '.join(runs)}"
    if any(_same(series, one) for one in other.series):
        return f"{other.side} has it with several other settings: nothing says which one to compare"
    return f"{other.side} has no such configuration"


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
