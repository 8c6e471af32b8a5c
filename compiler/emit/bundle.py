"""Writes a bundle: the same plan gives the same bytes, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic
from compiler.emit import slurm
from compiler.emit.playbooks import HOSTS, render
from compiler.inventory.model import Inventory
from compiler.plan.model import Plan
from compiler.resources import host_code, resource

host_code()

from deepep_host.own_bundle import MANIFEST, RESULTS, is_played  # noqa: E402 - found by the line above

KIND = "deepep-compiler bundle"

_NOT_COPIED = frozenset({"__pycache__", "tests", ".pytest_cache", ".mypy_cache", ".ruff_cache"})


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle consists of: path -> SHA-256 (hexadecimal), without the manifest itself."""

    scenario: str
    compiler_version: str
    files: Mapping[str, str]

    def to_text(self) -> str:
        """Returns ``manifest.json``."""
        data = {
            "schema": 1,
            "kind": KIND,
            "compiler_version": self.compiler_version,
            "scenario": self.scenario,
            "files": dict(sorted(self.files.items())),
        }
        return json.dumps(data, indent=1) + "\n"


class ForeignFolderError(Exception):
    """The target holds something that is no bundle of this compiler."""

    def __init__(self, target: Path) -> None:
        super().__init__(f"{target} exists and is not a bundle of this compiler")

    def diagnostic(self) -> Diagnostic:
        """Returns it as a finding."""
        return finding("foreign-folder", str(self), None)


class BundleInUseError(Exception):
    """The bundle that would be replaced is being played."""

    def __init__(self, target: Path) -> None:
        super().__init__(f"{target} is being played by ansible-playbook at this moment")


def emit_bundle(plan: Plan, inventory: Inventory | Path, target: Path) -> Manifest:
    """Writes the bundle of ``plan`` to ``target`` and returns its manifest.

    ``inventory`` may be another bundle, whose inventory and job scripts it then gets.

    Written beside and renamed, so that a failure leaves no half a bundle. An older bundle in ``target`` is
    replaced; its ``results/``, in which sessions may be going on, is not touched, and files that are not the
    compiler's stay. Where it is the same bundle already, nothing is touched. Raises ForeignFolderError,
    BundleInUseError, OSError.
    """
    before = _manifest_of(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=target.parent, prefix=f".{target.name}.", ignore_cleanup_errors=True
    ) as beside:
        fresh = Path(beside) / "new"
        manifest = _write(plan, inventory, fresh)
        if before != manifest.to_text() or not _intact(target, manifest):
            if before is not None and is_played(target):
                raise BundleInUseError(target)
            _replace(target, fresh, Path(beside) / "old", before)
    return manifest


def _write(plan: Plan, inventory: Inventory | Path, folder: Path) -> Manifest:
    files: dict[str, str] = {}
    made: set[Path] = set()

    def write(name: str, chunks: Iterator[bytes]) -> None:
        path = folder / name
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
        files[name] = digest.hexdigest()

    write("plan.json", _plan_json(plan))
    if isinstance(inventory, Path):
        for name in (HOSTS, *slurm.jobs(plan)):
            write(name, iter([(inventory / name).read_bytes()]))
        texts = render(plan, None)
    else:
        texts = render(plan, inventory)
    for name, text in texts:
        write(name, iter([text.encode()]))
    source = resource("roles")
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if path.is_file() and path.suffix != ".pyc" and not _NOT_COPIED.intersection(relative.parts):
            write(f"roles/{relative.as_posix()}", iter([path.read_bytes()]))
    manifest = Manifest(plan.scenario, plan.compiler_version, files)
    (folder / MANIFEST).write_text(manifest.to_text(), encoding="utf-8")
    return manifest


def _plan_json(plan: Plan) -> Iterator[bytes]:
    """Yields ``plan.json`` with one run per line: easy to compare, and never as a whole in memory."""
    head = json.dumps(plan.head_to_json(), ensure_ascii=False, indent=1)
    yield head.removesuffix("\n}").encode()
    yield b',\n "steps": ['
    comma = "\n  "
    for step in plan.steps:
        yield (comma + json.dumps({"verb": step.verb.value, "run": step.run})).encode()
        comma = ",\n  "
    yield b'\n ],\n "runs": ['
    comma = "\n  "
    for run in plan.runs:
        yield (comma + json.dumps(run.to_json(), ensure_ascii=False)).encode()
        comma = ",\n  "
    yield b"\n ]\n}\n"


def _manifest_of(target: Path) -> str | None:
    """Returns the manifest of the bundle in ``target``, None where there is nothing.

    Raises ForeignFolderError where something else is there.
    """
    if not target.exists() and not target.is_symlink():
        return None
    if not target.is_dir():
        raise ForeignFolderError(target)
    path = target / MANIFEST
    if not path.is_file():
        if any(target.iterdir()):
            raise ForeignFolderError(target)
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    if not _is_ours(text):
        raise ForeignFolderError(target)
    return text


def _is_ours(text: str) -> bool:
    try:
        data = json.loads(text)
    except ValueError:
        return False
    return isinstance(data, dict) and data.get("kind") == KIND and isinstance(data.get("files"), dict)


def _intact(target: Path, manifest: Manifest) -> bool:
    for name, digest in manifest.files.items():
        path = target / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            return False
    return True


def _replace(target: Path, fresh: Path, old: Path, before: str | None) -> None:
    """Puts ``fresh`` in the place of the bundle in ``target``, whose files go to ``old``."""
    if target.is_symlink():
        target = target.resolve()
    if before is None:
        if target.exists():
            target.rmdir()
        fresh.rename(target)
        return
    ours = set(json.loads(before)["files"])
    entries = {path.name for path in fresh.iterdir()} | {name.split("/")[0] for name in ours}
    entries -= {MANIFEST, RESULTS}
    _keep(target, fresh, ours, entries)
    old.mkdir()
    moved: list[tuple[Path, Path]] = []
    try:
        for name in sorted(entries):
            for source, goal in ((target / name, old / name), (fresh / name, target / name)):
                if os.path.lexists(source):
                    source.rename(goal)
                    moved.append((source, goal))
        # The last one, and there at any time: without it the folder would be nobody's bundle.
        (fresh / MANIFEST).replace(target / MANIFEST)
    except BaseException:
        for source, goal in reversed(moved):
            goal.rename(source)
        raise


def _keep(target: Path, fresh: Path, ours: AbstractSet[str], entries: AbstractSet[str]) -> None:
    """Copies what is not the compiler's from those entries of ``target`` that are replaced."""
    for name in sorted(entries):
        if not (target / name).is_dir() or (target / name).is_symlink():
            continue
        for path in sorted((target / name).rglob("*")):
            relative = path.relative_to(target)
            if "__pycache__" in relative.parts or (path.is_dir() and not path.is_symlink()):
                continue
            copy = fresh / relative
            if relative.as_posix() not in ours and not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy, follow_symlinks=False)
