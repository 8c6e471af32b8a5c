"""A session: one execution of a scenario, and its directory on the controller (design: result tree)."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from compiler.resources import host_code

host_code()

from deepep_host.own_bundle import own_bundle  # noqa: E402 - found by the line above

LOG = "ansible.log"


class NotASessionError(Exception):
    """The directory holds no session."""


@dataclass(frozen=True, slots=True)
class ReachedWith:
    """How the session's hosts were reached: parts of ``ansible-playbook``'s command line, without secrets."""

    inventories: tuple[str, ...] = ()
    extra_vars: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    """Names of what was given beside that; it may be a secret, so that it has to be given again."""

    @classmethod
    def of(cls, facts: object) -> ReachedWith:
        """Returns what ``run.json`` says; nothing for sessions of before."""
        known = facts if isinstance(facts, dict) else {}
        return cls(*(tuple(map(str, known.get(name) or ())) for name in cls.__slots__))


@dataclass(frozen=True, slots=True)
class Session:
    """What ``run.json`` says of a session."""

    directory: Path
    run_id: str
    scenario: str
    status: str
    bundle: Path
    """Its own one; for sessions of before, the one that it was begun with, if that is still there."""
    reached_with: ReachedWith = ReachedWith()

    @property
    def events(self) -> Path:
        """The file that playbooks append their progress to."""
        return self.directory / "events.jsonl"

    @property
    def log(self) -> Path:
        """Ansible's own output."""
        return self.directory / LOG


def create_directory(results: Path, scenario: str) -> Path:
    """Makes ``<results>/<scenario>_<YYYY-MM-DD_HH-MM-SS>``; two starts in one second get two names."""
    results.mkdir(parents=True, exist_ok=True)
    while True:
        directory = results / f"{scenario}_{datetime.now().astimezone():%Y-%m-%d_%H-%M-%S}"
        try:
            directory.mkdir()
        except FileExistsError:
            time.sleep(0.2)
            continue
        return directory.resolve()


def discard_unopened(directory: Path) -> bool:
    """Removes a directory in which no session was opened, and so nothing started; returns if it was one."""
    if (directory / "run.json").exists():
        return False
    shutil.rmtree(directory, ignore_errors=True)
    return True


def open_session(path: Path) -> Session:
    """Reads the session in ``path``, or the newest one below it.

    Raises NotASessionError, naming what is missing.
    """
    if not (path / "run.json").is_file():
        below = sorted(path.glob("*/run.json"), key=lambda file: file.stat().st_mtime)
        if not below:
            raise NotASessionError(
                f"{path} is no result directory: it has no run.json, and no folder in it has one"
            )
        path = below[-1].parent
    own = own_bundle(path.resolve())
    try:
        facts = json.loads((path / "run.json").read_text(encoding="utf-8"))
        return Session(
            path.resolve(),
            facts["run_id"],
            facts["scenario"],
            facts["status"],
            own if own.is_dir() else Path(facts["bundle_dir"]),
            ReachedWith.of(facts.get("reached_with")),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotASessionError(f"{path / 'run.json'} cannot be read as a session: {error}") from error
