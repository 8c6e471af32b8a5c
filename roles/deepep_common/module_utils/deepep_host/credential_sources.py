"""Where a user's registry credentials are, on the controller: one answer per registry, whatever the source.

In this order: ``deepep_registries`` (Ansible Vault or any lookup), the environment, enroot's
``.credentials``, and the files of ``docker login`` and ``podman login`` with their credential helpers.
Files are only read; one that is there and cannot be read is an error, since it may hold what is needed.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .reference import DOCKER_HUB, registry_name
from .registry import Login

HELPER_S = 30.0
"""How long a credential helper may take; some ask a service."""

PREFIX = "DEEPEP_REGISTRY_"
_VARIABLE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
_HELPER = re.compile(r"[A-Za-z0-9._-]+")
_IDENTITY = "<token>"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_API = ("", "v1", "v2")
"""Paths of docker's addresses that are no namespace: ``https://index.docker.io/v1/``."""

TOKEN_HOSTS = {"auth.docker.io": DOCKER_HUB, "authn.nvidia.com": "nvcr.io"}
"""Token services under whose names enroot's documentation has people write a registry's credentials."""


class SourceError(Exception):
    """A source names credentials for a registry but does not give them; the text says why, without them."""


def variable_names(registry: str) -> tuple[str, str]:
    """Returns the environment variables for user and password of a registry."""
    name = PREFIX + re.sub(r"[^A-Z0-9]", "_", registry.upper())
    return f"{name}_USERNAME", f"{name}_PASSWORD"


def find(place: str, entries: Sequence[Mapping[str, Any]], environment: Mapping[str, str]) -> Login:
    """Returns the login for ``registry[/repository]``, an unknown one where no source has any.

    ``entries`` is the value of ``deepep_registries``; an entry without password only names the user, and
    makes another source's credentials of another user count as none. Of entries with a path, which count for
    repositories below it, the longest wins. Raises SourceError.
    """
    registry, repository = registry_name(place), place.partition("/")[2]
    user = ""
    for index in _matching([str(entry.get("registry", "")) for entry in entries], registry, repository):
        user, secret = str(entries[index].get("username") or ""), str(entries[index].get("password") or "")
        if secret:
            return Login(user, secret, user == _IDENTITY, "deepep_registries")
    for source in (_environment, _enroot, partial(_docker, repository=repository)):
        found = source(registry, environment=environment)
        if found is not None and (not user or found.user == user):
            return found
    return Login(user)


def known_registries(environment: Mapping[str, str]) -> tuple[frozenset[str], bool]:
    """Returns the registries that files and environment have something for, and whether that is all.

    Reads no secret. False where a credential store decides, which may know any registry. Raises SourceError.
    """
    found = {TOKEN_HOSTS.get(name, name) for name, _, _ in _enroot_lines(environment)}
    whole = True
    for path in _docker_files(environment):
        config = _config(path)
        for key in ("auths", "credHelpers"):
            found.update(registry_name(name) for name in _table(config, key))
        whole = whole and not config.get("credsStore")
    return frozenset(found), whole


def in_environment(registry: str, environment: Mapping[str, str]) -> bool:
    """Returns whether the environment has a password for a registry."""
    return bool(environment.get(variable_names(registry_name(registry))[1]))


def _matching(names: Sequence[str], registry: str, repository: str) -> list[int]:
    """Returns which names are the registry's and cover the repository, the longest path first."""
    found = []
    for index, name in enumerate(names):
        bare, _, path = _SCHEME.sub("", name.strip()).partition("/")
        path = path.strip("/")
        # What has a scheme, or docker's own path, is the address of a whole registry.
        prefix = "" if _SCHEME.match(name.strip()) or path in _API else path
        if registry_name(bare) == registry and f"{repository}/".startswith(f"{prefix}/" if prefix else ""):
            found.append((-len(prefix), index))
    return [index for _, index in sorted(found)]


def _text(path: Path) -> str | None:
    """Returns what a file holds, None where there is none. Raises SourceError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if isinstance(error, PermissionError) and not os.access(path.parent, os.X_OK):
            return None  # A directory of another user's, as XDG_RUNTIME_DIR is after su.
        raise SourceError(
            f"{path} cannot be read ({error.strerror}), and may hold registry credentials: make it a file "
            "that this user can read, or remove it"
        ) from None


def _environment(registry: str, environment: Mapping[str, str]) -> Login | None:
    names = variable_names(registry)
    secret = environment.get(names[1])
    return Login(environment.get(names[0], ""), secret, False, f"${names[1]}") if secret else None


# ---- enroot ----


def _enroot_file(environment: Mapping[str, str]) -> Path:
    folder = environment.get("ENROOT_CONFIG_PATH")
    base = Path(environment.get("XDG_CONFIG_HOME") or _home(environment) / ".config")
    return (Path(folder) if folder else base / "enroot") / ".credentials"


def _enroot_lines(environment: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Returns host, user and password as they stand in each line that enroot would find."""
    found = []
    for line in (_text(_enroot_file(environment)) or "").splitlines():
        words = line.split(None, 5)
        if len(words) == 6 and words[0::2] == ["machine", "login", "password"]:
            # enroot takes everything behind "password" for an expression where it starts with $.
            secret = words[5].rstrip() if words[5].startswith("$") else words[5].split()[0]
            found.append((registry_name(words[1]), words[3], secret))
    return found


def _enroot(registry: str, environment: Mapping[str, str]) -> Login | None:
    path = _enroot_file(environment)
    lines = _enroot_lines(environment)
    tokens = [host for host, owner in TOKEN_HOSTS.items() if owner == registry]
    for name in (registry, re.sub(r":\d+$", "", registry), *tokens):
        for host, user, secret in lines:
            if host == name:
                return Login(user, _expanded(secret, registry, path, environment), False, str(path))
    return None


def _expanded(secret: str, registry: str, path: Path, environment: Mapping[str, str]) -> str:
    if not secret.startswith("$"):
        return secret
    match = _VARIABLE.fullmatch(secret)
    if match is None:
        raise SourceError(
            f"the password for {registry} in {path} is an expression that enroot gives to a shell; here only "
            "$NAME and ${NAME} are replaced: write one of these, or use deepep_registries with a lookup"
        )
    name = match.group(1) or match.group(2)
    if not environment.get(name):
        raise SourceError(f"the password for {registry} in {path} is ${name}, which is not set: export it")
    return environment[name]


# ---- docker and podman ----


def _docker_files(environment: Mapping[str, str]) -> list[Path]:
    home = _home(environment)
    folder = environment.get("DOCKER_CONFIG")
    files = [(Path(folder) if folder else home / ".docker") / "config.json"]
    if environment.get("REGISTRY_AUTH_FILE"):
        files.append(Path(environment["REGISTRY_AUTH_FILE"]))
    runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    files.append(Path(runtime) / "containers" / "auth.json")
    files.append(home / ".config" / "containers" / "auth.json")
    return files


def _config(path: Path) -> Mapping[str, Any]:
    """Returns docker's or podman's file, empty where there is none. Raises SourceError."""
    text = _text(path)
    if text is None or not text.strip():
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        # The error's own text shows nothing of the file but a place in it.
        raise SourceError(f"{path} is no JSON ({error}): correct it, or remove it and log in again") from None
    if not isinstance(value, dict):
        raise SourceError(f"{path} is no JSON object: remove it and log in again")
    return value


def _docker(registry: str, environment: Mapping[str, str], repository: str) -> Login | None:
    for path in _docker_files(environment):
        config = _config(path)
        helper = next(
            (str(value) for name, value in _table(config, "credHelpers").items()
             if registry_name(name) == registry), "")  # fmt: skip
        if helper:
            found = _ask_helper(helper, registry, path, environment, silent=False)
            if found is not None:
                return found
        auths = _table(config, "auths")
        names = list(auths)
        for index in _matching(names, registry, repository):
            value = auths[names[index]]
            login = _auth_entry(value, registry, path) if isinstance(value, dict) else None
            if login is not None:
                return login
        store = config.get("credsStore")
        if store:
            found = _ask_helper(str(store), registry, path, environment, silent=True)
            if found is not None:
                return found
    return None


def _auth_entry(entry: Mapping[str, Any], registry: str, path: Path) -> Login | None:
    """Returns the login of one entry of ``auths``; None for the empty one that a credential store leaves."""
    user, secret = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            pair = base64.b64decode(str(entry["auth"]), validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            raise SourceError(
                f"the entry for {registry} in {path} is no base64: log in again with docker login {registry}"
            ) from None
        user, _, secret = pair.partition(":")
    if entry.get("identitytoken"):
        return Login(user, str(entry["identitytoken"]), True, str(path))
    return Login(user, secret.rstrip("\0"), False, str(path)) if secret else None


def _ask_helper(
    name: str, registry: str, path: Path, environment: Mapping[str, str], silent: bool
) -> Login | None:
    """Asks ``docker-credential-NAME get``. ``silent``: a store that does not have it is no error."""
    if not _HELPER.fullmatch(name):
        raise SourceError(f"{path} names the credential helper {name!r}, which is no name of a program")
    program = f"docker-credential-{name}"
    source = f"{program} ({path})"
    addresses = (
        ["https://index.docker.io/v1/"] if registry == DOCKER_HUB else [registry, f"https://{registry}"]
    )
    for address in addresses:
        try:
            done = subprocess.run(  # noqa: S603 - the program that docker itself would ask
                [program, "get"],
                input=address.encode(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=dict(environment),
                timeout=HELPER_S,
                check=False,
            )
        except FileNotFoundError:
            if silent:
                return None
            raise SourceError(
                f"{path} has the credentials for {registry} in {program}, which is not on PATH: install it"
            ) from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SourceError(f"{source} did not answer for {registry} ({type(error).__name__})") from None
        if done.returncode == 0:
            try:
                answer = json.loads(done.stdout.decode("utf-8"))
                user, secret = str(answer["Username"]), str(answer["Secret"])
            except (ValueError, KeyError, TypeError):
                raise SourceError(f"{source} answered for {registry} with something else") from None
            if secret:
                return Login("" if user == _IDENTITY else user, secret, user == _IDENTITY, source)
    if silent:
        return None
    raise SourceError(
        f"{source} has no credentials for {registry}: log in with docker login {shlex.quote(registry)}"
    )


def _table(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def _home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HOME") or Path.home())
