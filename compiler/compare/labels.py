"""How configurations are named for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from compiler.compare.model import Scalar, Series, Tree

_NAMES = {
    "data_type": "data type",
    "hidden_size": "hidden size",
    "machines": "physical machines",
    "num_experts": "experts",
    "num_hosts": "hosts",
    "num_iterations": "timed iterations",
    "num_qps_per_rank": "QPs per rank",
    "num_ranks": "ranks",
    "num_sms": "SMs",
    "num_topk": "top-k",
    "num_warmups": "warm-ups",
    "nsys": "under nsys",
    "ranks_per_host": "ranks per host",
}
_AUTOMATIC = frozenset({"num_sms", "num_qps_per_rank"})
_IN_EVERY_LABEL = frozenset(
    {"mode", "operation", "data_type", "num_ranks", "num_hosts", "backend", "ranks_per_host", "machines"}
)


def name_of(key: str) -> str:
    """Returns what people call a key of a configuration."""
    return _NAMES.get(key, key)


def shown(key: str, value: Scalar) -> str:
    """Returns a configuration's value as text."""
    match value:
        case None:
            return "automatic" if key in _AUTOMATIC else "none"
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)


def with_labels(base: Tree, new: Tree) -> tuple[Tree, Tree]:
    """Names every series by what people look for first, and by whatever else varies in the two trees.

    Series of one tree that only their settings tell apart are named by their places too.
    """
    both = (*base.series, *new.series)
    values: dict[str, dict[tuple[Scalar, Scalar], set[Scalar]]] = {}
    for one in both:
        operation = (one.configuration["mode"], one.configuration["operation"])
        for key, value in one.configuration.items():
            values.setdefault(key, {}).setdefault(operation, set()).add(value)
    varying = [
        key
        for key, by_operation in values.items()
        if key not in _IN_EVERY_LABEL and any(len(found) > 1 for found in by_operation.values())
    ]
    repeated = {
        text for tree in (base, new) for text in _repeated(_label(one, varying) for one in tree.series)
    }
    named = [
        replace(tree, series=tuple(_named(one, varying, repeated) for one in tree.series))
        for tree in (base, new)
    ]
    return named[0], named[1]


def _named(series: Series, varying: Sequence[str], repeated: set[str]) -> Series:
    label = _label(series, varying)
    return replace(series, label=f"{label} ({' + '.join(series.places)})" if label in repeated else label)


def _label(series: Series, varying: Sequence[str]) -> str:
    get = series.configuration.get
    headline = (
        f"{get('mode')} {get('operation')}",
        str(get("data_type")),
        f"{_count(get('num_ranks'), 'rank')} on {_count(get('num_hosts'), 'host')}",
        "gloo (CPU stand-in)" if get("backend") == "gloo" else str(get("backend")),
    )
    return ", ".join((*headline, *(f"{name_of(key)} {shown(key, get(key))}" for key in varying)))


def _count(number: Scalar, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _repeated(texts: Iterable[str]) -> set[str]:
    return {text for text, number in Counter(texts).items() if number > 1}
