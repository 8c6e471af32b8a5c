"""The registry client: every answer that users must act on differently has its own code and words."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
from pathlib import Path

import pytest
from deepep_host import registry as module
from deepep_host.image import archive, pull
from deepep_host.image.incoming import Incoming
from deepep_host.reference import parse
from deepep_host.registry import Client, Login, RegistryError

from tests.image.registry_stand_in import (
    CONFIG,
    INDEX,
    LAYERS,
    MANIFEST,
    PASSWORD,
    USER,
    StandIn,
    sha256,
)

RIGHT = Login(USER, PASSWORD, False, "deepep_registries")
NOBODY = Login()


def refusal(registry: StandIn, login: Login, reference: str = "a/b:1") -> RegistryError:
    with pytest.raises(RegistryError) as raised:
        Client(registry.name, login, 5.0).manifest(parse(f"{registry.name}/{reference}"), "x86_64")
    text = str(raised.value)
    assert registry.name in text
    assert PASSWORD not in text
    return raised.value


@pytest.mark.parametrize(
    ("mood", "login", "code", "words"),
    [
        ("basic", NOBODY, module.MISSING, ["no credentials", "deepep_registries"]),
        ("token", NOBODY, module.MISSING, ["no credentials", "docker login"]),
        (
            "basic",
            Login(USER, "wrong", False, "~/.docker/config.json"),
            module.WRONG,
            [USER, "~/.docker/config.json"],
        ),
        ("token", Login(USER, "wrong"), module.WRONG, [USER, "Access denied"]),
        ("basic_forbidden", RIGHT, module.NO_RIGHTS, [USER, "a/b"]),
        ("token_no_scope", RIGHT, module.NO_RIGHTS, [USER, "a/b", "read access"]),
        ("token_denied", RIGHT, module.NO_RIGHTS, [USER]),
        ("token_expired", RIGHT, module.EXPIRED, [USER, "expired"]),
        ("busy", RIGHT, module.BUSY, ["rate limit"]),
        ("broken", RIGHT, module.DOWN, ["503"]),
        ("login page", RIGHT, module.DOWN, ["not as a registry"]),
    ],
)
def test_each_refusal_has_its_own_message(
    registry: StandIn, mood: str, login: Login, code: str, words: list[str]
) -> None:
    registry.mood = mood
    error = refusal(registry, login)
    assert error.code == code
    for word in words:
        assert word in str(error)


def test_a_token_that_has_run_out_is_told_by_its_own_date(registry: StandIn) -> None:
    ended = base64.urlsafe_b64encode(json.dumps({"exp": time.time() - 60}).encode()).decode().rstrip("=")
    error = refusal(registry, Login(USER, f"head.{ended}.signature"))
    assert error.code == module.EXPIRED
    assert time.strftime("%Y-%m-%d") in str(error) or "UTC" in str(error)


def test_a_missing_tag_names_those_that_exist(registry: StandIn) -> None:
    error = refusal(registry, RIGHT, "a/b:3")
    assert error.code == module.NO_IMAGE
    assert "1, index, 2.0" in str(error)


def test_a_registry_that_is_not_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        name = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(RegistryError, match="cannot be reached") as raised:
            Client(name, NOBODY, 2.0).manifest(parse(f"{name}/a/b:1"))
    assert raised.value.code == module.DOWN


def test_the_manifest_of_this_platform_and_the_digest_that_a_pinned_reference_has(registry: StandIn) -> None:
    registry.mood = "token"
    client = Client(registry.name, RIGHT)
    found = client.manifest(parse(f"{registry.name}/a/b:index"), "x86_64")
    assert found.digest == sha256(INDEX)
    assert found.manifest_digest == sha256(MANIFEST)
    assert [layer.digest for layer in found.layers] == [sha256(layer) for layer in LAYERS]
    assert client.auth_host == "127.0.0.1"
    pinned = client.manifest(parse(f"{registry.name}/a/b@{sha256(INDEX)}"), "x86_64")
    assert pinned == found
    with pytest.raises(RegistryError, match=r"no image for linux/ppc64le, only linux/arm64, linux/amd64"):
        client.manifest(parse(f"{registry.name}/a/b:index"), "ppc64le")


def test_the_authorization_does_not_follow_to_another_host(registry: StandIn) -> None:
    registry.mood = "redirect"
    client = Client(registry.name, RIGHT)
    client._authorization = client._basic()
    image = parse(f"{registry.name}/a/b:1")
    assert client.document(image, client.manifest(image, "x86_64").config) == CONFIG
    elsewhere = [given for path, given in registry.requests if "elsewhere" in path]
    assert elsewhere == [None]
    assert any(given for path, given in registry.requests if "/blobs/" in path)


def archived(registry: StandIn, tmp_path: Path) -> tuple[Client, list[archive.Part], Incoming]:
    client = Client(registry.name, RIGHT)
    manifest = client.manifest(parse(f"{registry.name}/a/b:1"), "x86_64")
    parts = archive.parts(manifest, CONFIG, "localhost/deepep/b:x")
    return client, parts, Incoming(tmp_path / "image.tar.part", archive.pieces(parts))


def test_an_archive_is_pulled_whole_and_is_one(registry: StandIn, tmp_path: Path) -> None:
    client, parts, target = archived(registry, tmp_path)
    pull.pull(client, parse(f"{registry.name}/a/b:1"), parts, target)
    assert target.available() == target.size == target.path.stat().st_size
    content = archive.examine(target.path)
    assert content.config == sha256(CONFIG)
    assert content.diff_ids == tuple(sha256(layer) for layer in LAYERS)
    listing = subprocess.run(["tar", "-tf", target.path], capture_output=True, text=True, check=True).stdout
    assert "manifest.json" in listing
    # A second archive of the same image has the same bytes.
    other = Incoming(tmp_path / "again", archive.pieces(parts))
    pull.pull(client, parse(f"{registry.name}/a/b:1"), parts, other)
    assert other.path.read_bytes() == target.path.read_bytes()


def test_a_broken_connection_goes_on_where_it_was(
    registry: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "PAUSE_S", 0.01)
    client, parts, target = archived(registry, tmp_path)
    registry.break_after = 20000
    pull.pull(client, parse(f"{registry.name}/a/b:1"), parts, target)
    assert target.available() == target.size
    assert client.received < sum(map(len, LAYERS)) + 5000


def test_damaged_layers_are_asked_for_again_and_then_given_up(
    registry: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "PAUSE_S", 0.01)
    client, parts, target = archived(registry, tmp_path)
    registry.wrong_bytes = 1
    pull.pull(client, parse(f"{registry.name}/a/b:1"), parts, target)
    assert target.available() == target.size
    registry.wrong_bytes = 100
    target = Incoming(tmp_path / "other", archive.pieces(parts))
    with pytest.raises(RegistryError, match="did not give layer") as raised:
        pull.pull(client, parse(f"{registry.name}/a/b:1"), parts, target)
    assert raised.value.code == module.DAMAGED


def test_what_an_earlier_attempt_left_is_checked_and_kept(registry: StandIn, tmp_path: Path) -> None:
    client, parts, target = archived(registry, tmp_path)
    pull.pull(client, parse(f"{registry.name}/a/b:1"), parts, target)
    target.close()
    with target.path.open("r+b") as stream:
        stream.seek(600)
        stream.write(b"damage")  # in the configuration
    again = Incoming(target.path, archive.pieces(parts))
    kept = again.recover()
    assert 0 < kept < again.size
    before = client.received
    pull.pull(client, parse(f"{registry.name}/a/b:1"), parts, again)
    assert again.available() == again.size
    assert client.received == before  # the configuration is part of the decision, not asked for again
