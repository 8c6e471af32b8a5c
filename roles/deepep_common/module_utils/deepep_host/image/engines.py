"""docker and podman: what they hold, and how an archive gets into them. Their command lines agree in all
this.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .archive import Content

ASK_S = 60.0
"""How long a question may take; a daemon under load is slow, a hung one must not hold us."""

_ABSENT = re.compile(r"no such (image|object)|image not known|unable to find", re.IGNORECASE)


class EngineError(Exception):
    """The runtime refused; the text is for the user."""


class Engine:
    """One of ``docker`` and ``podman`` on this host, as this user."""

    def __init__(self, name: str, timeout_s: float) -> None:
        self.name = name
        self._timeout = timeout_s

    def problem(self) -> str | None:
        """Returns why it is not here, with the way out; None where it is."""
        if shutil.which(self.name):
            return None
        return f"{self.name} is not installed here: install it, or set deepep_container_runtime"

    def inspect(self, *names: str) -> list[dict[str, Any]]:
        """Returns what the runtime knows of those images (ids, digests, names) that it has.

        Raises EngineError where it does not work at all: a daemon that is down, no rights.
        """
        done = self._run(["image", "inspect", *names], ASK_S)
        try:
            found = json.loads(done.stdout.decode("utf-8"))
        except ValueError:
            found = []
        if done.returncode != 0 and not found:
            said = done.stderr.decode("utf-8", "replace")
            if not _ABSENT.search(said):
                raise EngineError(self._why(_last(done)))
        return [dict(image) for image in found] if isinstance(found, list) else []

    def holds(self, content: Content, *names: str) -> str | None:
        """Returns the id of the image that has exactly this content, by any of its names; None without."""
        for found in self.inspect(content.config, *names):
            if layers_of(found) == content.diff_ids:
                return full_id(found)
        return None

    def _why(self, said: str) -> str:
        if "permission denied" in said.lower():
            way = "add it to the group docker, or set ansible_become"
            return f"this user may not use {self.name} ({said}): {way}"
        if self.name == "docker":
            return f"the docker daemon does not answer ({said}): start it (systemctl start docker)"
        return f"podman does not work here: {said}"

    def load(self, archive: Path, content: Content, name: str) -> str:
        """Loads an archive and returns the image's id, once it has what it should. Raises EngineError."""
        done = self._run(["load", "--input", str(archive)], self._timeout)
        if done.returncode != 0:
            raise EngineError(f"{self.name} load failed: {_last(done)}{_hint(_last(done))}")
        for found in self.inspect(content.config, name, *_loaded(done)):
            if layers_of(found) == content.diff_ids:
                if not any(tag.endswith(name) for tag in found.get("RepoTags") or ()):
                    self._run(["tag", full_id(found), name], ASK_S)
                return full_id(found)
        raise EngineError(f"{self.name} has loaded {archive.name}, but its layers are not the image's")

    def pull(self, reference: str, config_dir: Path) -> dict[str, Any]:
        """Pulls by the runtime itself with the credentials in ``config_dir``. Raises EngineError."""
        if self.name == "docker":
            argv = ["--config", str(config_dir), "pull", "--quiet", reference]
        else:
            argv = ["pull", "--quiet", "--authfile", str(config_dir / "config.json"), reference]
        done = self._run(argv, self._timeout)
        if done.returncode != 0:
            raise EngineError(f"{self.name} pull {reference} failed: {_last(done)}")
        found = self.inspect(reference)
        if not found:
            raise EngineError(f"{self.name} has pulled {reference}, but does not have it")
        return found[0]

    def save(self, image: str, name: str, archive: Path) -> None:
        """Writes an image as a docker archive under ``name``. Raises EngineError."""
        self._run(["tag", image, name], ASK_S)
        form = [] if self.name == "docker" else ["--format", "docker-archive"]
        done = self._run(["save", *form, "--output", str(archive), name], self._timeout)
        if done.returncode != 0:
            raise EngineError(f"{self.name} save failed: {_last(done)}{_hint(_last(done))}")

    def root(self) -> Path | None:
        """Returns where the runtime keeps images, None where it does not say."""
        field = "{{.DockerRootDir}}" if self.name == "docker" else "{{.Store.GraphRoot}}"
        done = self._run(["info", "--format", field], ASK_S)
        text = done.stdout.decode("utf-8", "replace").strip()
        return Path(text) if done.returncode == 0 and text.startswith("/") else None

    def _run(self, argv: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[bytes]:
        command = [self.name, *argv]
        try:
            return subprocess.run(  # noqa: S603 - docker or podman
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            said = f"no answer within {timeout_s:.0f} s".encode()
            return subprocess.CompletedProcess(command, 124, b"", said)


def layers_of(inspected: dict[str, Any]) -> tuple[str, ...]:
    """Returns the digests of an image's layers, uncompressed: the same wherever and however it was stored."""
    found = (inspected.get("RootFS") or {}).get("Layers") or ()
    return tuple(layer if ":" in layer else f"sha256:{layer}" for layer in map(str, found))


def full_id(inspected: dict[str, Any]) -> str:
    """Returns an image's id with its algorithm, which podman leaves out."""
    text = str(inspected["Id"])
    return text if ":" in text else f"sha256:{text}"


def _loaded(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    """Returns the names in what ``load`` said (``Loaded image: name``, ``Loaded image ID: sha256:...``)."""
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return [
        line.split(": ", 1)[1].strip() for line in lines if line.startswith("Loaded image") and ": " in line
    ]


def _last(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip()[:400] if lines else f"exit code {done.returncode}"


def _hint(said: str) -> str:
    if "no space left" in said.lower():
        return ": make room where it keeps its images (docker system df, podman system df)"
    return ""
