"""Which hosts a node spec stands for, and what is said where it stands for none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from compiler.diagnostics.codes import code_of
from compiler.diagnostics.model import Diagnostic, Place
from compiler.inventory.nodes import Choice, bar, choose_hosts, names_hosts_only
from compiler.scenario.model import NodeSpec
from tests.plan.samples import FILE, inventory

HOSTS = ("node01", "node02", "node03", "node04", "login")
GROUPS = {
    "GAIA": ["node04", "node03", "node02", "node01"],
    "big": ["node02", "node04"],
    "small": ["node01", "login"],
}
INVENTORY = inventory(HOSTS, GROUPS)
ENTRY = Place(FILE, ("Tests", 0))


def specs(key: str, texts: Sequence[str]) -> list[NodeSpec]:
    return [NodeSpec(text, Place(FILE, ("Tests", 0, key, index))) for index, text in enumerate(texts)]


def choose(
    *nodes: str, exclude: Sequence[str] = (), num_nodes: int | None = None, busy: Sequence[str] = ()
) -> tuple[Choice | None, list[Diagnostic]]:
    return choose_hosts(
        INVENTORY, specs("nodes", nodes), specs("exclude_nodes", exclude), num_nodes, ENTRY, busy
    )


@pytest.mark.parametrize(
    ("nodes", "hosts"),
    [
        (["node03"], ["node03"]),
        (["node[02-03]"], ["node02", "node03"]),
        (["node04", "node01"], ["node04", "node01"]),
        (["node04,node[01-02]"], ["node04", "node01", "node02"]),
        # The group's own order, not the partition's, not the inventory's.
        (["GAIA:big:2"], ["node02", "node04"]),
        (["big:GAIA:2"], ["node04", "node02"]),
        (["GAIA:big:1"], ["node02"]),
        # Only hosts that are in both.
        (["GAIA:small:max_avail"], ["node01"]),
        (["GAIA:GAIA:max_avail"], ["node04", "node03", "node02", "node01"]),
        (["all:big:1"], ["node02"]),
        # A host that is named later is not taken by a group before it.
        (["GAIA:big:1", "node02"], ["node04", "node02"]),
        (["GAIA:big:1", "GAIA:big:1"], ["node02", "node04"]),
    ],
)
def test_nodes(nodes: list[str], hosts: list[str]) -> None:
    choice, findings = choose(*nodes)
    assert findings == []
    assert choice is not None
    assert list(choice.hosts) == hosts


def test_the_same_input_gives_the_same_hosts() -> None:
    assert len({choose("GAIA:GAIA:3")[0] for _ in range(20)}) == 1


def test_num_nodes_takes_the_first_hosts_of_the_inventory() -> None:
    choice, _ = choose(num_nodes=2)
    assert choice == Choice(("node01", "node02"), "the first 2 hosts of the inventory")


def test_without_nodes_and_num_nodes_there_is_one_host() -> None:
    assert choose()[0] == Choice(("node01",), "the first host of the inventory")


def test_excluded_hosts_are_taken_by_nobody() -> None:
    assert choose(num_nodes=2, exclude=["node01"])[0].hosts == ("node02", "node03")  # type: ignore[union-attr]
    assert choose("GAIA:big:1", exclude=["node02"])[0].hosts == ("node04",)  # type: ignore[union-attr]
    assert choose("node[01-04]", exclude=["node[02-03]"])[0].hosts == ("node01", "node04")  # type: ignore[union-attr]
    assert "node01 (exclude_nodes)" in choose(num_nodes=1, exclude=["node01"])[0].why  # type: ignore[union-attr]


def test_busy_hosts_are_not_chosen_by_count() -> None:
    assert choose("GAIA:GAIA:2", busy=["node04"])[0].hosts == ("node03", "node02")  # type: ignore[union-attr]
    assert choose(num_nodes=2, busy=["node01"])[0].hosts == ("node02", "node03")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("nodes", "options", "slug", "says", "fix"),
    [
        (["nod03"], {}, "unknown-host", "no host nod03", "did you mean node03"),
        (["node[03-06]"], {}, "unknown-host", "no host node05, node06 (from 'node[03-06]')", "node04"),
        (["big"], {}, "unknown-host", "no host big", "PARTITION:big:COUNT"),
        (["GAIA:bigg:2"], {}, "unknown-group", "'bigg', the group of 'GAIA:bigg:2'", "did you mean big"),
        (["GAYA:big:2"], {}, "unknown-group", "'GAYA', the partition", "did you mean GAIA"),
        (["GAIA:big:3"], {}, "too-few-hosts", "2 hosts are in both GAIA and big", "at most 2"),
        (["GAIA:big:2"], {"exclude": ["node02"]}, "too-few-hosts", "1 in exclude_nodes", "at most 1"),
        (["GAIA:big:2"], {"busy": ["node02"]}, "too-few-hosts", "1 busy", "at most 1"),
        (["GAIA:big:max_avail"], {"exclude": ["node02,node04"]}, "too-few-hosts", "asks for at least 1", ""),
        (["GAIA:big"], {}, "bad-node-spec", "2 parts", "PARTITION:GROUP:COUNT"),
        (["GAIA:big:0"], {}, "bad-node-spec", "count", "max_avail"),
        (["GAIA:big:two"], {}, "bad-node-spec", "'two'", "max_avail"),
        (["node[04-01]"], {}, "bad-node-spec", "backwards", "01-04"),
        (["node01", "node[01-02]"], {}, "host-named-twice", "node01 is named twice", ""),
        (["node01"], {"num_nodes": 2}, "node-count-contradiction", "nodes gives 1 host", "num_nodes = 1"),
        (["node01"], {"exclude": ["GAIA:big:1"]}, "bad-node-spec", "exclude_nodes takes hosts", ""),
        (["node01"], {"exclude": ["node1"]}, "unknown-host", "node1", "node01"),
        (["node01"], {"exclude": ["node01"]}, "too-few-hosts", "no host is left", ""),
        ([], {"num_nodes": 9}, "too-few-hosts", "9 hosts wanted, inv has 5", "num_nodes = 5"),
    ],
)
def test_refused(nodes: list[str], options: dict[str, object], slug: str, says: str, fix: str) -> None:
    choice, findings = choose(*nodes, **options)  # type: ignore[arg-type]
    assert choice is None
    code = code_of(findings[0].code)
    assert code is not None
    assert code.slug == slug
    assert says in findings[0].message
    assert fix in findings[0].fix
    assert findings[0].place is not None
    assert findings[0].place.path[0] == "Tests"


def test_all_specs_are_told_in_one_go() -> None:
    _, findings = choose("nope", "GAIA:nope:1", "node[9-1]")
    assert len(findings) == 3


def test_a_host_may_have_colons_in_its_name() -> None:
    odd = inventory(("fd00::1", "fd00::2"))
    choice, _ = choose_hosts(odd, specs("nodes", ["fd00::2"]), [], None, ENTRY)
    assert choice is not None
    assert choice.hosts == ("fd00::2",)


def test_names_hosts_only() -> None:
    assert names_hosts_only(INVENTORY, specs("nodes", ["node[01-02]"]))
    assert not names_hosts_only(INVENTORY, specs("nodes", ["node01", "GAIA:big:1"]))
    assert not names_hosts_only(INVENTORY, [])


def barred(
    *nodes: str, num_nodes: int | None = None, bars: Sequence[str]
) -> tuple[Choice | None, list[Diagnostic]]:
    without, findings = bar(INVENTORY, bars)
    assert findings == []
    return choose_hosts(without, specs("nodes", nodes), [], num_nodes, ENTRY)


def test_barred_hosts_are_never_chosen() -> None:
    choice, findings = barred("GAIA:GAIA:2", bars=["node[03-04]"])
    assert (findings, choice and choice.hosts) == ([], ("node02", "node01"))
    choice, _ = barred(num_nodes=2, bars=["node01", "node03,node04"])
    assert choice is not None
    assert choice.hosts == ("node02", "login")
    assert choice.why.endswith("without node01, node03, node04 (--exclude)")


def test_a_barred_host_that_is_named_is_an_error() -> None:
    choice, (found,) = barred("node[01-02]", bars=["node02"])
    assert choice is None
    assert found.code == code_of("host-barred").code
    assert found.message == "node02 is named here, and --exclude leaves it out"


@pytest.mark.parametrize(
    ("nodes", "number", "part"),
    [
        (("GAIA:big:2",), None, "2 hosts are in both GAIA and big (1 left out by --exclude)"),
        ((), 5, "has 5, 4 of them free, without node02 (--exclude)"),
    ],
)
def test_too_few_hosts_are_left(nodes: tuple[str, ...], number: int | None, part: str) -> None:
    choice, (found,) = barred(*nodes, num_nodes=number, bars=["node02"])
    assert choice is None
    assert (found.code, part in found.message) == (code_of("too-few-hosts").code, True), found.message


def test_barring_what_the_inventory_lacks_is_an_error() -> None:
    _, findings = bar(INVENTORY, ["node9", "node[01", "node01"])
    assert [found.code for found in findings] == [code_of("unknown-host").code, code_of("bad-node-spec").code]
    assert findings[0].message == "--exclude: the inventory inv has no host node9"
