"""``nodes``, ``exclude_nodes`` and ``num_nodes`` -> the hosts of a run: chosen here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic, Place
from compiler.inventory.hostlist import HostListError, expand, split
from compiler.inventory.model import Inventory
from compiler.scenario.model import NodeSpec

ALL = "max_avail"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Choice:
    """The hosts of a run, in the order of their node ranks, and why these."""

    hosts: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class _Group:
    """PARTITION:GROUP:COUNT; ``count`` is None for ``max_avail``."""

    partition: str
    group: str
    count: int | None
    place: Place


@dataclass(frozen=True, slots=True)
class _Names:
    """Hosts by name; ``text`` as written."""

    text: str
    hosts: tuple[str, ...]
    place: Place


class _Refused(Exception):
    def __init__(self, findings: list[Diagnostic]) -> None:
        super().__init__()
        self.findings = findings


def bar(inventory: Inventory, texts: Sequence[str]) -> tuple[Inventory, list[Diagnostic]]:
    """Returns the inventory without the hosts that ``--exclude`` names, and what is wrong with these."""
    barred: set[str] = set()
    findings: list[Diagnostic] = []
    for text in texts:
        try:
            for part in split(text):
                names = [part] if part in inventory.hosts else expand(part)
                unknown = [name for name in names if name not in inventory.hosts]
                if unknown:
                    findings.append(_unknown_host(inventory, part, unknown, None))
                barred.update(names)
        except HostListError as error:
            findings.append(finding("bad-node-spec", f"--exclude: {error}", None, fix=error.fix))
    return replace(inventory, barred=frozenset(barred)), findings


def names_hosts_only(inventory: Inventory, nodes: Sequence[NodeSpec]) -> bool:
    """Tells whether ``nodes`` names every host itself, so that nothing is left to choose."""
    try:
        return bool(nodes) and all(isinstance(part, _Names) for part in _parse(inventory, nodes))
    except _Refused:
        return False


def choose_hosts(
    inventory: Inventory,
    nodes: Sequence[NodeSpec],
    exclude: Sequence[NodeSpec],
    num_nodes: int | None,
    place: Place,
    busy: Iterable[str] = (),
) -> tuple[Choice | None, list[Diagnostic]]:
    """Returns the hosts that the specs stand for, or None with the errors.

    ``place`` is the entry's, for findings about ``num_nodes``. ``busy`` are hosts of entries that run at
    the same time: they are not chosen by count; naming one is the caller's finding. The same input always
    gives the same hosts.
    """
    try:
        excluded = _excluded(inventory, exclude)
        if nodes:
            return _from_specs(inventory, nodes, excluded, num_nodes, set(busy)), []
        if num_nodes is not None:
            place = Place(place.file, (*place.path, "num_nodes"))
        return _first(inventory, excluded, num_nodes or 1, place, set(busy)), []
    except _Refused as refused:
        return None, refused.findings


def _parse(inventory: Inventory, specs: Sequence[NodeSpec]) -> list[_Group | _Names]:
    parts: list[_Group | _Names] = []
    findings: list[Diagnostic] = []
    for spec in specs:
        try:
            for text in split(spec.text):
                if ":" in text and text not in inventory.hosts:
                    parts.append(_group(inventory, text, spec.place))
                else:
                    parts.append(_Names(text, _known(inventory, text, spec.place), spec.place))
        except HostListError as error:
            findings.append(finding("bad-node-spec", str(error), spec.place, fix=error.fix))
        except _Refused as refused:
            findings += refused.findings
    if findings:
        raise _Refused(findings)
    return parts


def _known(inventory: Inventory, text: str, place: Place) -> tuple[str, ...]:
    names = [text] if text in inventory.hosts else expand(text)
    unknown = [name for name in names if name not in inventory.hosts]
    if unknown:
        raise _Refused([_unknown_host(inventory, text, unknown, place)])
    return tuple(names)


def _unknown_host(inventory: Inventory, text: str, unknown: Sequence[str], place: Place | None) -> Diagnostic:
    shown = ", ".join(unknown[:_SHOWN]) + (
        f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    )
    message = f"the inventory {inventory.source} has no host {shown}"
    message = message if place else f"--exclude: {message}"
    if len(unknown) > 1 or text != unknown[0]:
        message += f" (from {text!r})"
    if text in inventory.groups:
        return finding(
            "unknown-host", message, place,
            fix=f"{text} is a group: write PARTITION:{text}:COUNT, or PARTITION:{text}:{ALL} for all of it",
        )  # fmt: skip
    return finding("unknown-host", message, place, fix=_nearest(unknown[0], inventory.hosts, "its hosts are"))


def _nearest(name: str, names: Iterable[str], all_are: str) -> str:
    candidates = list(names)
    near = get_close_matches(name, candidates, n=3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    more = ", …" if len(candidates) > _SHOWN else ""
    return f"{all_are} {', '.join(candidates[:_SHOWN])}{more}" if candidates else "the inventory has none"


def _group(inventory: Inventory, text: str, place: Place) -> _Group:
    fields = [field.strip() for field in text.split(":")]
    if len(fields) != 3 or not all(fields):
        raise _Refused(
            [
                finding(
                    "bad-node-spec",
                    f"{text!r} has {len(fields)} parts between colons, a group spec has 3",
                    place,
                    fix=f"write PARTITION:GROUP:COUNT, with a number or {ALL} as COUNT",
                )
            ]
        )
    partition, group, count = fields
    named = {name: members for name, members in inventory.groups.items() if name != "ungrouped"}
    findings = [
        finding(
            "unknown-group",
            f"the inventory {inventory.source} has no group {name!r}, the {role} of {text!r}",
            place,
            fix=_nearest(name, named, "its groups are"),
        )
        for role, name in (("partition", partition), ("group", group))
        if name not in named and name != "all"
    ]
    if count != ALL and not (count.isascii() and count.isdigit() and int(count[:9]) > 0):
        findings.append(
            finding(
                "bad-node-spec",
                f"the count of {text!r} is {count!r}",
                place,
                fix=f"write a number from 1, or {ALL} for all hosts of the group",
            )
        )
    if findings:
        raise _Refused(findings)
    return _Group(partition, group, None if count == ALL else int(count[:9]), place)


def _excluded(inventory: Inventory, exclude: Sequence[NodeSpec]) -> set[str]:
    names: set[str] = set()
    for part in _parse(inventory, exclude):
        if isinstance(part, _Group):
            raise _Refused(
                [
                    finding(
                        "bad-node-spec",
                        "exclude_nodes takes hosts, not PARTITION:GROUP:COUNT",
                        part.place,
                        fix="write host names or ranges such as node[01-04]",
                    )
                ]
            )
        names.update(part.hosts)
    return names


def _members(inventory: Inventory, group: str) -> tuple[str, ...]:
    return tuple(inventory.hosts) if group == "all" else inventory.groups[group]


def _from_specs(
    inventory: Inventory, nodes: Sequence[NodeSpec], excluded: set[str], num_nodes: int | None, busy: set[str]
) -> Choice:
    parts = _parse(inventory, nodes)
    findings: list[Diagnostic] = []
    # Hosts that are named are reserved first, so that a group never takes one that is named after it.
    taken: set[str] = set()
    for part in parts:
        if isinstance(part, _Names):
            for name in part.hosts:
                if name in taken:
                    findings.append(finding("host-named-twice", f"{name} is named twice", part.place))
                taken.add(name)
                if name in inventory.barred and name not in excluded:
                    text = f"{name} is named here, and --exclude leaves it out"
                    findings.append(finding("host-barred", text, part.place))
    if findings:
        raise _Refused(findings)
    hosts: list[str] = []
    why: list[str] = []
    for part in parts:
        if isinstance(part, _Names):
            chosen = [name for name in part.hosts if name not in excluded]
            why.append(f"{part.text} as named")
        else:
            chosen = _of_group(inventory, part, excluded, busy, taken)
            taken.update(chosen)
            why.append(f"{len(chosen)} of {part.partition}:{part.group} in group order")
        hosts += chosen
    place = parts[0].place
    if not hosts:
        raise _Refused(
            [
                finding(
                    "too-few-hosts",
                    "no host is left once exclude_nodes is applied",
                    place,
                    fix="exclude fewer hosts",
                )
            ]
        )
    if num_nodes is not None and num_nodes != len(hosts):
        raise _Refused(
            [
                finding(
                    "node-count-contradiction",
                    f"nodes gives {_count(len(hosts))}"
                    + (" without those in exclude_nodes" if excluded else "")
                    + f", num_nodes says {num_nodes}",
                    place,
                    fix=f"remove num_nodes, or write num_nodes = {len(hosts)}",
                )
            ]
        )
    return Choice(tuple(hosts), " + ".join(why) + _without(excluded, busy, inventory.barred))


def _of_group(
    inventory: Inventory, part: _Group, excluded: set[str], busy: set[str], taken: set[str]
) -> list[str]:
    partition = set(_members(inventory, part.partition))
    common = [name for name in _members(inventory, part.group) if name in partition]
    barred = inventory.barred
    free = [name for name in common if name not in {*excluded, *barred, *busy, *taken}]
    wanted = len(free) if part.count is None else part.count
    if wanted > len(free) or not free:
        less = [
            f"{number} {reason}"
            for number, reason in (
                (len(excluded.intersection(common)), "in exclude_nodes"),
                (len((barred - excluded).intersection(common)), "left out by --exclude"),
                (
                    len((busy - excluded - barred).intersection(common)),
                    "busy with entries that run at the same time",
                ),
                (len((taken - excluded - barred - busy).intersection(common)), "already taken by this entry"),
            )
            if number
        ]
        which = part.group if part.partition == part.group else f"both {part.partition} and {part.group}"
        message = f"{_count(len(common))} {'is' if len(common) == 1 else 'are'} in {which}"
        message += f" ({', '.join(less)})" if less else ""
        message += (
            f"; {part.partition}:{part.group}:{part.count or ALL} asks for {part.count or 'at least 1'}"
        )
        fix = f"ask for at most {len(free)}" if free else "choose another group"
        raise _Refused([finding("too-few-hosts", message, part.place, fix=fix)])
    return free[:wanted]


def _first(inventory: Inventory, excluded: set[str], wanted: int, place: Place, busy: set[str]) -> Choice:
    barred = inventory.barred
    free = [name for name in inventory.hosts if name not in {*excluded, *barred, *busy}]
    if wanted > len(free):
        left = f", {len(free)} of them free" if len(free) < len(inventory.hosts) else ""
        raise _Refused(
            [
                finding(
                    "too-few-hosts",
                    f"{_count(wanted)} wanted, {inventory.source} has {len(inventory.hosts)}{left}"
                    + _without(excluded, busy, barred),
                    place,
                    fix=f"write num_nodes = {len(free)} or less, or add hosts to the inventory"
                    if free
                    else "",
                )
            ]
        )
    first = "the first host" if wanted == 1 else f"the first {wanted} hosts"
    return Choice(tuple(free[:wanted]), f"{first} of the inventory{_without(excluded, busy, barred)}")


def _without(excluded: set[str], busy: set[str], barred: frozenset[str]) -> str:
    text = f", without {', '.join(sorted(excluded))} (exclude_nodes)" if excluded else ""
    text += f", without {', '.join(sorted(barred))} (--exclude)" if barred else ""
    return text + (f", without {', '.join(sorted(busy))} (busy with entries that overlap)" if busy else "")


def _count(number: int) -> str:
    return f"{number} host{'' if number == 1 else 's'}"
