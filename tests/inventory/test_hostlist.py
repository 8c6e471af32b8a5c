"""Slurm's host lists. What ``scontrol show hostnames`` prints for the same text is the expectation."""

from __future__ import annotations

import pytest

from compiler.inventory.hostlist import MAX_HOSTS, HostListError, expand, split


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("node", ["node"]),
        ("node[01-04,7]", ["node01", "node02", "node03", "node04", "node7"]),
        ("node-[001-003]", ["node-001", "node-002", "node-003"]),
        ("n[1-3]", ["n1", "n2", "n3"]),
        ("n[8-11]", ["n8", "n9", "n10", "n11"]),
        ("n[08-11]", ["n08", "n09", "n10", "n11"]),
        ("n[098-101]", ["n098", "n099", "n100", "n101"]),
        ("n[0-2]", ["n0", "n1", "n2"]),
        ("n[3,1,2]", ["n3", "n1", "n2"]),
        ("n[1-2]-ib", ["n1-ib", "n2-ib"]),
        ("r[1-2]n[01-02]", ["r1n01", "r1n02", "r2n01", "r2n02"]),
        ("n[5-5]", ["n5"]),
    ],
)
def test_expand(text: str, names: list[str]) -> None:
    assert expand(text) == names


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b", ["a", "b"]),
        ("n[1,2],m", ["n[1,2]", "m"]),
        (" a , n[1-3] ", ["a", "n[1-3]"]),
        ("P:G:2,x", ["P:G:2", "x"]),
    ],
)
def test_split(text: str, parts: list[str]) -> None:
    assert split(text) == parts


@pytest.mark.parametrize("text", ["", "a,", ",a", "a,,b", "n[1", "n1]", "n[[1]]", "n]1["])
def test_split_refuses(text: str) -> None:
    with pytest.raises(HostListError):
        split(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("n[4-1]", "backwards"),
        ("n[]", "neither a number nor a range"),
        ("n[a-b]", "neither a number nor a range"),
        ("n[1-2-3]", "neither a number nor a range"),
        ("n[1-]", "neither a number nor a range"),
        ("n[1-999999999999]", f"more than {MAX_HOSTS}"),
        ("n[1-1000]m[1-1000]", "1000000 hosts"),
        ("n[٣]", "neither a number nor a range"),
    ],
)
def test_expand_refuses(text: str, says: str) -> None:
    with pytest.raises(HostListError, match=says) as refused:
        expand(text)
    assert refused.value.fix
