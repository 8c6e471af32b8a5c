"""A whole emitted bundle, file by file. To accept a change: DEEPEP_UPDATE_GOLDEN=1 pytest -k golden"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from compiler import __version__
from tests.emit.bundles import GOLDEN, compile_to, content

EXPECTED = GOLDEN / "bundle"
UPDATE = bool(os.environ.get("DEEPEP_UPDATE_GOLDEN"))


def emitted(bundle: Path) -> dict[str, bytes]:
    """Returns what is made for this plan; roles are copies, and the manifest has their sums."""
    return {
        name: data.replace(__version__.encode(), b"VERSION")
        for name, data in content(bundle).items()
        if not name.startswith("roles/") and name != "manifest.json"
    }


@pytest.fixture(scope="module")
def found(bundle: Path) -> dict[str, bytes]:
    files = emitted(bundle)
    if UPDATE:
        shutil.rmtree(EXPECTED, ignore_errors=True)
        for name, data in files.items():
            (EXPECTED / name).parent.mkdir(parents=True, exist_ok=True)
            (EXPECTED / name).write_bytes(data)
    return files


def test_the_files(found: dict[str, bytes]) -> None:
    assert sorted(found) == sorted(content(EXPECTED))


@pytest.mark.parametrize("name", sorted(content(EXPECTED)))
def test_a_file(found: dict[str, bytes], name: str) -> None:
    assert found[name].decode() == (EXPECTED / name).read_text(encoding="utf-8")


CONTAINERS = GOLDEN / "containers"
OF_CONTAINERS = ("inventory/hosts.yml", "plan.json", "site.yml")
"""What differs with containers; the other files are the same."""


def test_a_bundle_with_containers(tmp_path: Path) -> None:
    files = emitted(compile_to(tmp_path / "bundle", CONTAINERS / "input"))
    for name in OF_CONTAINERS:
        if UPDATE:
            (CONTAINERS / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
            (CONTAINERS / "bundle" / name).write_bytes(files[name])
        assert files[name].decode() == (CONTAINERS / "bundle" / name).read_text(encoding="utf-8")
