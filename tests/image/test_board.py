"""Who gets the image from whom, without any host: the rules of the board, and a cluster played through."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from deepep_host.image import board as boards
from deepep_host.image.board import Board

SPEC: dict[str, Any] = {
    "reference": "r",
    "pieces": [[1, "x"]],
    "asked": True,
    "digest": "sha256:1",
    "size": 1,
}
HOSTS = [f"node{number}" for number in range(1, 9)]


def board(tmp_path: Path, hosts: list[str] = HOSTS, **spec: Any) -> Board:
    made = Board(tmp_path / "key.json", hosts)
    made.decide({**SPEC, **spec})
    return made


def ask(made: Board, host: str, fan_out: int = 2, **how: Any) -> tuple[str, Any]:
    kind, where = made.assign(host, fan_out, how.pop("may_pull", True), how.pop("pull_from", "hosts"), **how)
    return kind, where.get("host")


def serve(made: Board, host: str, phase: str = "receiving") -> None:
    made.update(host, phase=phase, address="192.0.2.1", port=1)


def test_one_host_pulls_and_waits_for_all_to_say_what_they_have(tmp_path: Path) -> None:
    made = board(tmp_path)
    made.update("node1", phase="wants")
    assert ask(made, "node1") == (boards.WAIT, None)
    for host in HOSTS[1:]:
        made.update(host, phase="wants")
    assert ask(made, "node2") == (boards.REGISTRY, None)
    assert ask(made, "node1") == (boards.WAIT, None)
    serve(made, "node2", "pulling")
    assert [ask(made, host) for host in ("node1", "node3", "node4")] == [
        (boards.PEER, "node2"), (boards.PEER, "node2"), (boards.WAIT, None),
    ]  # fmt: skip


def test_the_host_that_asked_the_registry_also_pulls(tmp_path: Path) -> None:
    made = board(tmp_path, ["a", "b"])
    assert made.take("resolve", "a")
    assert not made.take("resolve", "b")
    made.update("b", phase="wants")
    assert ask(made, "b", everyone_asked=True) == (boards.WAIT, None)
    made.update("a", phase="wants")
    assert ask(made, "b") == (boards.WAIT, None)
    assert ask(made, "a") == (boards.REGISTRY, None)
    made.give_back("pull", "a")
    made.update("a", phase="failed")
    assert ask(made, "b") == (boards.REGISTRY, None)


def test_one_hosts_trouble_with_the_registry_is_not_everybodys(tmp_path: Path) -> None:
    made = Board(tmp_path / "key.json", ["a", "b", "c"])
    assert made.take("resolve", "a")
    made.doubt("a", "registry_down", "it cannot be reached")
    assert (made.may_ask("a"), made.may_ask("b"), made.hopeless()) == (False, True, None)
    assert made.take("resolve", "b")
    made.decide(SPEC)
    for host in ("a", "b", "c"):
        made.update(host, phase="wants")
    assert ask(made, "a", everyone_asked=True) == (boards.WAIT, None)
    assert ask(made, "b") == (boards.REGISTRY, None)
    # While it pulls, the registry is lost to that one too.
    serve(made, "b", "pulling")
    made.doubt("b", "registry_down", "it cannot be reached either")
    assert made.read()["hosts"]["b"]["phase"] == "wants"
    assert made.hopeless() == {"code": "registry_down", "text": "it cannot be reached (so say a, b)"}


def test_where_nobody_else_is_left_one_hosts_word_counts(tmp_path: Path) -> None:
    made = Board(tmp_path / "key.json", ["a", "b"])
    made.doubt("a", "tls_untrusted", "its certificate")
    assert made.hopeless() is None
    made.update("b", phase="failed")
    assert made.hopeless() == {"code": "tls_untrusted", "text": "its certificate"}


def test_what_a_host_has_kept_is_looked_for_before_the_registry_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Board(tmp_path / "key.json", ["a", "b"])
    made.without_kept("a")
    assert not made.nobody_kept(everyone_asked=False)
    made.decide({**SPEC, "digest": "sha256:kept"})
    made.decide({**SPEC, "digest": "sha256:asked later"})
    assert made.read()["spec"]["digest"] == "sha256:kept"
    other = Board(tmp_path / "other.json", ["a", "b"])
    other.without_kept("a")
    assert other.nobody_kept(everyone_asked=True)
    other.without_kept("b")
    assert other.nobody_kept(everyone_asked=False)


def test_nobody_pulls_where_somebody_has_it(tmp_path: Path) -> None:
    made = board(tmp_path)
    for host in HOSTS:
        made.update(host, phase="wants")
    made.update("node7", phase="ready", file="/x", entry={})
    assert ask(made, "node1") == (boards.WAIT, None)
    assert made.wanting() == [host for host in HOSTS if host != "node7"]
    serve(made, "node7", "ready")
    assert ask(made, "node1") == (boards.PEER, "node7")


def test_an_image_without_file_is_no_source(tmp_path: Path) -> None:
    made = board(tmp_path)
    for host in HOSTS:
        made.update(host, phase="wants")
    made.update("node7", phase="ready", file=None, entry={})
    assert ask(made, "node1") == (boards.REGISTRY, None)


def test_a_source_that_failed_is_not_given_again_and_no_circle_arises(tmp_path: Path) -> None:
    made = board(tmp_path, ["a", "b", "c"])
    for host in "abc":
        made.update(host, phase="wants")
    assert ask(made, "a") == (boards.REGISTRY, None)
    serve(made, "a", "pulling")
    assert ask(made, "b") == (boards.PEER, "a")
    serve(made, "b")
    assert ask(made, "c", fan_out=1) == (boards.PEER, "b")
    serve(made, "c")
    made.lost("b", "lost")
    # c comes from b: it cannot be b's source; a has failed it.
    assert ask(made, "b") == (boards.WAIT, None)
    made.update("c", phase="ready", file=True, entry={})
    assert ask(made, "b") == (boards.PEER, "c")


def test_hosts_that_hang_on_a_dead_puller_do_not_wait_for_each_other(tmp_path: Path) -> None:
    made = board(tmp_path, ["a", "b", "c"])
    for host in "abc":
        made.update(host, phase="wants")
    assert ask(made, "a") == (boards.REGISTRY, None)
    serve(made, "a", "pulling")
    assert ask(made, "b") == (boards.PEER, "a")
    serve(made, "b")
    made.lost("b", "unreachable")
    assert ask(made, "c") == (boards.PEER, "a")
    serve(made, "c")
    # b asks while c still hangs on a; then c gets b, which has lost its own source meanwhile.
    assert ask(made, "b") == (boards.PEER, "c")
    serve(made, "b")
    made.lost("c", "unreachable")
    assert ask(made, "c") == (boards.WAIT, None)  # a may still be alive
    made.update("a", phase="failed")
    assert ask(made, "c") == (boards.REGISTRY, None)
    assert made.read()["roles"]["pull"] == "c"


def test_a_puller_that_falls_out_is_replaced(tmp_path: Path) -> None:
    made = board(tmp_path, ["a", "b"])
    made.update("a", phase="wants")
    made.update("b", phase="wants")
    assert ask(made, "a") == (boards.REGISTRY, None)
    made.give_back("pull", "a")
    made.update("a", phase="failed")
    assert ask(made, "b") == (boards.REGISTRY, None)


def test_hosts_that_cannot_reach_each_other_go_through_the_controller(tmp_path: Path) -> None:
    made = board(tmp_path, ["a", "b", "c"])
    for host in "abc":
        made.update(host, phase="wants")
    ask(made, "a")
    serve(made, "a", "pulling")
    made.update("a", phase="ready", file=True, entry={})
    assert ask(made, "b") == (boards.PEER, "a")
    made.lost("b", "unreachable")
    assert ask(made, "b") == (boards.WAIT, None)
    assert made.relay_wanted("a")
    assert not made.relay_wanted("c")
    made.relayed("/controller/file")
    assert made.assign("b", 2, True, "hosts")[1] == {"path": "/controller/file"}
    assert not made.relay_wanted("a")


def test_a_controller_that_pulls_gives_to_one_host_only(tmp_path: Path) -> None:
    made = board(tmp_path)
    for host in HOSTS:
        made.update(host, phase="wants")
    assert made.assign("node1", 2, True, "controller") == (boards.CONTROLLER, {"path": None})
    made.relayed("/controller/file")
    assert made.assign("node1", 2, True, "controller") == (boards.CONTROLLER, {"path": "/controller/file"})
    assert ask(made, "node2", pull_from="controller") == (boards.WAIT, None)
    serve(made, "node1")
    assert ask(made, "node2", pull_from="controller") == (boards.PEER, "node1")


def test_files_must_be_the_same_on_all_hosts_that_have_them(tmp_path: Path) -> None:
    made = board(tmp_path, ["a", "b"], pieces=None, digest=None, reference="/x.sqsh")
    found = {"size": 1, "pieces": [[1, "p"]], "content": None, "digest": "sha256:aa"}
    assert made.measured("a", found) is None
    assert made.measured("b", found) is None
    other = made.measured("b", {**found, "pieces": [[1, "q"]], "digest": "sha256:bb"})
    assert other is not None
    assert "another one than on a" in other


def test_the_first_refusal_is_for_all(tmp_path: Path) -> None:
    made = board(tmp_path)
    made.refuse("credentials_wrong", "first")
    made.refuse("registry_down", "second")
    assert made.read()["refused"] == {"code": "credentials_wrong", "text": "first"}
    assert made.over()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("fan_out", [1, 2, 4])
def test_all_hosts_get_it_whatever_fails(tmp_path: Path, fan_out: int, seed: int) -> None:
    """Plays rounds: in each one every receiving host is done, or loses its source by chance."""
    chance = random.Random(seed)  # noqa: S311 - test data
    hosts = [f"h{number}" for number in range(24)]
    made = Board(tmp_path / "key.json", hosts)
    made.decide(SPEC)
    for host in hosts:
        made.update(host, phase="wants")
    pulls = rounds = 0
    while not made.over():
        rounds += 1
        assert rounds < 200
        for host in chance.sample(hosts, len(hosts)):
            if made.read()["hosts"][host]["phase"] != "wants":
                continue
            kind, where = made.assign(host, fan_out, True, "hosts")
            pulls += kind == boards.REGISTRY
            if kind in (boards.PEER, boards.REGISTRY):
                serve(made, host, "pulling" if kind == boards.REGISTRY else "receiving")
            elif kind == boards.CONTROLLER:
                assert where["path"]
                made.update(host, phase="ready", file=True, entry={})
        data = made.read()
        clients: dict[str, int] = {}
        for entry in data["hosts"].values():
            if entry["phase"] == "receiving":
                clients[entry["source"]] = clients.get(entry["source"], 0) + 1
        assert max(clients.values(), default=0) <= fan_out
        for host, entry in data["hosts"].items():
            if entry["phase"] == "pulling":
                made.update(host, phase="ready", file=True, entry={})
            elif entry["phase"] == "receiving":
                if chance.random() < 0.2:
                    made.lost(host, "lost")
                elif data["hosts"][entry["source"]]["phase"] == "ready":
                    made.update(host, phase="ready", file=True, entry={})
        if made.read()["relay"] and not made.read()["relay"]["path"]:
            made.relayed("/controller/file")
    assert pulls == 1
    assert all(entry["phase"] == "ready" for entry in made.read()["hosts"].values())
