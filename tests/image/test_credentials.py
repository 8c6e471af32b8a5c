"""Credentials: found wherever users have them, rendered for every runtime, in memory, gone afterwards."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from deepep_host import credential_sources, credentials
from deepep_host.registry import Login

SECRET = "tok-en/with+odd=letters"  # noqa: S105 - made up


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment whose home is empty."""
    return {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(tmp_path / "run")}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def auth(user: str, secret: str) -> str:
    return base64.b64encode(f"{user}:{secret}".encode()).decode()


def test_ansibles_variables_win_then_environment_enroot_docker(home: dict[str, str]) -> None:
    top = Path(home["HOME"])
    write(
        top / ".docker/config.json",
        json.dumps({"auths": {"reg.example:5000": {"auth": auth("docker", "d")}}}),
    )
    find = credential_sources.find
    assert find("reg.example:5000", [], home).user == "docker"
    write(top / ".config/enroot/.credentials", "machine reg.example login enroot password e\n")
    assert find("reg.example:5000", [], home).user == "enroot"  # enroot's lines have no port
    home["DEEPEP_REGISTRY_REG_EXAMPLE_5000_PASSWORD"] = "v"  # noqa: S105 - made up
    home["DEEPEP_REGISTRY_REG_EXAMPLE_5000_USERNAME"] = "environment"
    found = find("reg.example:5000", [], home)
    assert (found.user, found.secret) == ("environment", "v")
    entries = [{"registry": "Reg.Example:5000", "username": "vault", "password": SECRET}]
    found = find("reg.example:5000", entries, home)
    assert (found.user, found.secret, found.source) == ("vault", SECRET, "deepep_registries")
    assert not find("other.example", entries, home).known
    assert SECRET not in repr(found)


def test_an_entry_without_password_only_names_the_user(home: dict[str, str]) -> None:
    entries = [{"registry": "reg.example", "username": "me", "password": ""}]
    write(Path(home["HOME"]) / ".config/enroot/.credentials", "machine reg.example login other password e\n")
    found = credential_sources.find("reg.example", entries, home)
    assert not found.known
    assert found.user == "me"


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"])
def test_docker_hub_has_many_names(home: dict[str, str], key: str) -> None:
    write(
        Path(home["HOME"]) / ".docker/config.json", json.dumps({"auths": {key: {"auth": auth("hub", "h")}}})
    )
    assert credential_sources.find("docker.io", [], home).user == "hub"


def helper(home: dict[str, str], name: str, body: str) -> None:
    path = Path(home["HOME"]) / "bin" / f"docker-credential-{name}"
    write(path, f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    home["PATH"] = f"{path.parent}:{home['PATH']}"


def test_credential_helpers_and_stores_are_asked_as_docker_asks_them(home: dict[str, str]) -> None:
    answer = json.dumps({"ServerURL": "x", "Username": "helped", "Secret": SECRET})
    helper(home, "one", f"""[ "$1" = get ] && [ "$(cat)" = reg.example ] && echo '{answer}'""")
    config = Path(home["HOME"]) / ".docker/config.json"
    write(config, json.dumps({"auths": {"reg.example": {}}, "credHelpers": {"reg.example": "one"}}))
    found = credential_sources.find("reg.example", [], home)
    assert (found.user, found.secret) == ("helped", SECRET)
    write(config, json.dumps({"auths": {"reg.example": {}}, "credsStore": "one"}))
    assert credential_sources.find("reg.example", [], home).secret == SECRET
    assert not credential_sources.find("unknown.example", [], home).known
    token = json.dumps({"Username": "<token>", "Secret": SECRET})
    helper(home, "two", f"cat >/dev/null; echo '{token}'")
    write(config, json.dumps({"credHelpers": {"reg.example": "two"}}))
    assert credential_sources.find("reg.example", [], home).identity
    write(config, json.dumps({"credHelpers": {"reg.example": "absent"}}))
    with pytest.raises(
        credential_sources.SourceError, match="docker-credential-absent, which is not on PATH"
    ):
        credential_sources.find("reg.example", [], home)


def test_enroots_dollar_is_read_without_a_shell(home: dict[str, str], tmp_path: Path) -> None:
    path = Path(home["HOME"]) / ".config/enroot/.credentials"
    write(path, "machine nvcr.io login $oauthtoken password ${NGC_KEY}\n")
    with pytest.raises(credential_sources.SourceError, match="NGC_KEY, which is not set"):
        credential_sources.find("nvcr.io", [], home)
    found = credential_sources.find("nvcr.io", [], {**home, "NGC_KEY": SECRET})
    assert (found.user, found.secret) == ("$oauthtoken", SECRET)
    mark = tmp_path / "executed"
    write(path, f"machine nvcr.io login me password $(touch {mark}; echo x)\n")
    with pytest.raises(credential_sources.SourceError, match="expression that enroot gives to a shell"):
        credential_sources.find("nvcr.io", [], home)
    assert not mark.exists()


def test_enroots_documented_names_of_token_services(home: dict[str, str]) -> None:
    path = Path(home["HOME"]) / ".config/enroot/.credentials"
    write(
        path,
        "machine auth.docker.io login hub password h\n"
        "machine authn.nvidia.com login $oauthtoken password n\n",
    )

    def found(place: str) -> tuple[str | None, str | None]:
        login = credential_sources.find(place, [], home)
        return login.user, login.secret

    assert found("docker.io/library/ubuntu") == ("hub", "h")
    assert found("nvcr.io/nvidia/pytorch") == ("$oauthtoken", "n")
    assert credential_sources.known_registries(home) == ({"docker.io", "nvcr.io"}, True)
    # The registry's own line wins, wherever it stands.
    write(path, path.read_text() + "machine nvcr.io login $oauthtoken password own\n")
    assert found("nvcr.io/nvidia/pytorch") == ("$oauthtoken", "own")


@pytest.mark.parametrize("way", ["config.json", "deepep_registries"])
def test_the_entry_with_the_longest_path_of_a_repository_counts(home: dict[str, str], way: str) -> None:
    keys = ["reg.example:5000/team", "reg.example:5000", "reg.example:5000/team/b", "reg.example:5000/other"]
    entries = []
    if way == "config.json":
        auths = {key: {"auth": auth(key.replace(":5000", ""), "s")} for key in keys}
        write(Path(home["HOME"]) / ".docker/config.json", json.dumps({"auths": auths}))
    else:
        entries = [{"registry": key, "username": key.replace(":5000", ""), "password": "s"} for key in keys]

    def user(repository: str) -> str:
        return credential_sources.find(f"reg.example:5000/{repository}", entries, home).user or ""

    assert user("team/a") == "reg.example/team"
    assert user("team/b/image") == "reg.example/team/b"
    assert user("teams/a") == user("x") == "reg.example"
    assert user("other") == "reg.example/other"


def test_an_entry_for_another_path_of_the_registry_does_not_count(home: dict[str, str]) -> None:
    auths = {"reg.example/team": {"auth": auth("team", "s")}}
    write(Path(home["HOME"]) / ".docker/config.json", json.dumps({"auths": auths}))
    assert not credential_sources.find("reg.example/other/image", [], home).known


@pytest.mark.parametrize(("text", "said"), [('{"auths": {', "is no JSON"), ("[]", "is no JSON object")])
def test_a_file_that_cannot_be_read_is_said(home: dict[str, str], text: str, said: str) -> None:
    path = Path(home["HOME"]) / ".docker/config.json"
    write(path, text)
    for look in (lambda: credential_sources.find("reg.example", [], home),
                 lambda: credential_sources.known_registries(home)):  # fmt: skip
        with pytest.raises(credential_sources.SourceError, match=said) as raised:
            look()
        assert str(path) in str(raised.value)
    # What an earlier source has does not need that file.
    home["DEEPEP_REGISTRY_REG_EXAMPLE_PASSWORD"] = "v"  # noqa: S105 - made up
    assert credential_sources.find("reg.example", [], home).known


@pytest.mark.parametrize("name", [".docker/config.json", ".config/enroot/.credentials"])
def test_a_directory_in_the_place_of_a_file_is_said(home: dict[str, str], name: str) -> None:
    (Path(home["HOME"]) / name).mkdir(parents=True)
    with pytest.raises(credential_sources.SourceError, match=r"cannot be read \(Is a directory\)"):
        credential_sources.find("reg.example", [], home)


def test_what_is_known_without_reading_a_secret(home: dict[str, str]) -> None:
    top = Path(home["HOME"])
    write(top / ".config/enroot/.credentials", "machine a.example login me password x\n")
    write(
        top / ".docker/config.json",
        json.dumps({"auths": {"b.example": {}}, "credHelpers": {"c.example": "x"}}),
    )
    assert credential_sources.known_registries(home) == ({"a.example", "b.example", "c.example"}, True)
    write(top / ".docker/config.json", json.dumps({"credsStore": "desktop"}))
    assert credential_sources.known_registries(home) == ({"a.example"}, False)


# ---- on the host ----


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in memory for this test alone, where the host has its own: others clean up there, too."""
    own = Path(tempfile.mkdtemp(dir=credentials.folders()[0]))
    monkeypatch.setattr(credentials, "folders", lambda: [own])
    yield own
    shutil.rmtree(own)


def test_they_are_in_memory_private_and_gone(place: Path) -> None:
    with credentials.private_directory("run-1") as folder:
        path = credentials.docker_config(folder, {"reg.example": Login("me", SECRET)})
        kind = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=True)
        assert kind.stdout.strip() in ("tmpfs", "ramfs")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert json.loads(path.read_text()) == {"auths": {"reg.example": {"auth": auth("me", SECRET)}}}
        # Somebody else's clean-up leaves what is in use alone; our own session's does not.
        assert credentials.remove() == []
        assert folder.exists()
        assert credentials.remove("run-1", dry=True) == [str(folder)]
    assert not folder.exists()


def test_leftovers_of_a_killed_run_are_found(place: Path) -> None:
    code = (
        "import sys, os, pathlib, signal; sys.path.insert(0, sys.argv[1])\n"
        "from deepep_host import credentials\n"
        "from deepep_host.registry import Login\n"
        "credentials.folders = lambda: [pathlib.Path(sys.argv[2])]\n"
        "with credentials.private_directory('killed') as folder:\n"
        "    credentials.docker_config(folder, {'r': Login('u', 'secret')})\n"
        "    print(folder, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    top = Path(credentials.__file__).resolve().parents[1]
    done = subprocess.run(
        ["python3", "-c", code, str(top), str(place)], capture_output=True, text=True, check=False
    )
    folder = Path(done.stdout.strip())
    assert folder.is_dir()
    assert credentials.remove() == [str(folder)]
    assert not folder.exists()


def test_enroots_file_has_a_line_for_the_token_service_and_no_port(tmp_path: Path) -> None:
    path, extra = credentials.enroot_credentials(
        tmp_path, "nvcr.io", Login("$oauthtoken", SECRET), "authn.nvidia.com"
    )
    assert path.read_text().splitlines() == [
        f"machine nvcr.io login $oauthtoken password {SECRET}",
        f"machine authn.nvidia.com login $oauthtoken password {SECRET}",
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert extra == {}
    path, _ = credentials.enroot_credentials(tmp_path, "reg.example:5000", Login("me", SECRET), None)
    assert path.read_text() == f"machine reg.example login me password {SECRET}\n"


def evalnetrc(path: Path, environment: dict[str, str]) -> str:
    """What curl gets of enroot's file: enroot 4.1.2's own awk program (src/common.sh), recorded."""
    program = r"""{
        if (NF >= 6 && $6 ~ "^\\$") {
            for(i=1; i<6; i++) printf "%s ", $i
            for(i=1; i<6; i++) sub("^["FS"]*[^"FS"]+["FS"]+", "", $0)
            fflush(); system("echo "$0)
        } else
            print
    }"""
    done = subprocess.run(
        ["awk", program, path], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return done.stdout


@pytest.mark.parametrize("secret", ["plain", "$dollar", "$(touch EXECUTED)", "$HOME", "$a;b|c&d", "#x'y`z"])
def test_a_secret_reaches_enroot_as_it_is_and_is_never_executed(tmp_path: Path, secret: str) -> None:
    try:
        path, extra = credentials.enroot_credentials(tmp_path, "reg.example", Login("me", secret), None)
    except credentials.CredentialError as error:
        assert " " in secret and secret not in str(error)
        return
    assert evalnetrc(path, extra).strip() == f"machine reg.example login me password {secret}"
    assert not (tmp_path / "EXECUTED").exists()
    if secret.startswith("$"):
        assert secret not in path.read_text()


@pytest.mark.parametrize("secret", ["with space", '"quoted', "ümlaut", "$glob*"])
def test_what_enroot_cannot_read_is_refused_with_the_way_out(tmp_path: Path, secret: str) -> None:
    with pytest.raises(credentials.CredentialError, match="access token") as raised:
        credentials.enroot_credentials(tmp_path, "reg.example", Login("me", secret), None)
    assert secret not in str(raised.value)
