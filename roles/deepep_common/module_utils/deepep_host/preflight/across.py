"""Compares the hosts of a run with each other. Works on the controller, on what the hosts said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .model import FAIL, PASS, UNKNOWN, WARN, entry
from .needs import needs_of

_SHOWN = 3
SKEW_S = 1.0

if TYPE_CHECKING:
    # On Python 3.8 collections.abc's classes cannot be subscripted.
    Facts = Mapping[str, Any]


class Rule(NamedTuple):
    """A fact that hosts must share. ``worse``: the result where they do not."""

    name: str
    item: str
    needs: tuple[str, ...]
    worse: str
    what: str
    remedy: str
    value: Callable[[Facts], Any]


def _adapters(facts: Facts) -> list[Mapping[str, Any]] | None:
    return facts.get("adapters")


def _of_adapters(key: str) -> Callable[[Facts], Any]:
    def value(facts: Facts) -> Any:
        found = _adapters(facts)
        if not found:
            return None
        values = sorted({str(one[key]) for one in found if one["active"] and one[key] is not None})
        return ", ".join(values) or None

    return value


RULES = (
    Rule("same_gpus", "P03", ("gpu",), FAIL, "the same number of GPUs of the same model",
         "a figure of mixed GPUs means nothing: exclude the odd hosts",
         lambda facts: _counted(facts["gpus"]) if facts.get("gpus") else None),
    Rule("same_driver", "P03", ("gpu",), WARN, "the same NVIDIA driver", "install one driver on all hosts",
         lambda facts: facts.get("driver")),
    Rule("same_adapters", "P12", ("rdma", "network"), WARN, "as many active RDMA adapters of the same kind",
         "exclude the odd hosts", lambda facts: _adapter_kinds(facts)),
    Rule("same_rate", "P12", ("rdma", "network"), WARN, "the same rate of adapters, in Gb/s",
         "look at cables and switch ports, or exclude the odd hosts", _of_adapters("rate_gbit")),
    Rule("same_layer", "P12", ("rdma", "network"), FAIL, "the same link layer of adapters",
         "InfiniBand and Ethernet do not meet: exclude the odd hosts", _of_adapters("layer")),
    Rule("same_firmware", "P12", ("rdma", "network"), WARN, "the same firmware of adapters",
         "install one firmware on all hosts", _of_adapters("firmware")),
    Rule("same_mtu", "P15", ("rdma", "network"), FAIL, "the same MTU of adapters",
         "set one MTU on all hosts and switches", _of_adapters("mtu")),
    Rule("same_nvlink_domain", "P07", ("mnnvl",), FAIL, "one NVLink domain",
         "choose hosts of one domain, or set allow_mnnvl = false",
         lambda facts: ", ".join(facts.get("nvlink_domains") or ()) or None),
)  # fmt: skip
"""What hosts of one run must have in common."""

CLOCKS = ("same_time", "P01", "clocks within 1 s of each other, as far as that can be told",
          "start NTP: times of different hosts cannot be compared")  # fmt: skip


def compare(plan: Mapping[str, Any], hosts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns one element per set of hosts that run together: ``hosts``, ``runs`` and ``checks``.

    ``hosts``: what preflight found on each (``facts`` and ``clock``). A host that did not answer is left out:
    it has failed already.
    """
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for run in plan["runs"]:
        names = tuple(member["name"] for member in run["hosts"])
        if len(names) > 1:
            groups.setdefault(names, []).append(run)
    found = []
    for names, runs in groups.items():
        needs = frozenset().union(*(needs_of(run) for run in runs))
        known = {name: hosts[name] for name in names if hosts.get(name, {}).get("facts")}
        checks = [_compare(rule, known) for rule in RULES if needs.intersection(rule.needs)]
        checks.append(_clocks(known))
        found.append({"hosts": list(names), "runs": [run["id"] for run in runs], "checks": checks})
    return found


def _compare(rule: Rule, hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    values: dict[Any, list[str]] = {}
    silent = []
    for name, found in hosts.items():
        value = rule.value(found["facts"])
        if value is None:
            silent.append(name)
        else:
            values.setdefault(value, []).append(name)
    result, text = _judge(rule, values, silent)
    remedy = rule.remedy if result in (WARN, FAIL) else ""
    return entry(rule.name, result, text, remedy, rule.item, rule.needs)


def _judge(rule: Rule, values: Mapping[Any, list[str]], silent: Sequence[str]) -> tuple[str, str]:
    if not values:
        return UNKNOWN, f"not checked: no host tells ({_few(silent)})"
    largest = max(values, key=lambda value: len(values[value]))
    missing = f"; {_few(silent)} does not tell" if silent else ""
    if len(values) == 1:
        return WARN if silent else PASS, f"{largest}{missing}"
    odd = "; ".join(f"{value} on {_few(names)}" for value, names in values.items() if value != largest)
    return rule.worse, f"{odd}; {largest} on {_few(values[largest])}{missing}"


def _clocks(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Two clocks surely differ where what each may be ahead of the controller's does not overlap."""
    bounds = {name: found["clock"] for name, found in hosts.items() if found.get("clock")}
    if not bounds:
        return entry(CLOCKS[0], UNKNOWN, "not checked: no host told its time")
    low = max(bounds, key=lambda name: bounds[name][0])
    high = min(bounds, key=lambda name: bounds[name][1])
    apart = bounds[low][0] - bounds[high][1]
    if apart > SKEW_S:
        return entry(CLOCKS[0], WARN, f"{low} is at least {apart:.1f} s ahead of {high}", CLOCKS[3])
    return entry(CLOCKS[0], PASS, f"no two clocks are surely more than {max(apart, 0):.1f} s apart")


def _counted(names: Sequence[str]) -> str:
    kinds = sorted(set(names))
    return " + ".join(f"{list(names).count(name)} {name}" for name in kinds)


def _adapter_kinds(facts: Facts) -> str | None:
    found = _adapters(facts)
    return _counted([str(one["kind"]) for one in found if one["active"]]) or None if found else None


def _few(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
