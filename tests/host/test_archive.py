"""The archive in which a Slurm run's files come: whole, and never out of its directory."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from compiler.resources import host_code

host_code()

from deepep_host.pack import BadArchive  # noqa: E402
from deepep_host.slurm.archive import pack, unpack  # noqa: E402


def test_files_come_back_the_same_over_many_parts(tmp_path: Path) -> None:
    source = tmp_path / "run"
    (source / "logs").mkdir(parents=True)
    files = {"logs/out.txt": os.urandom(300_000), "empty": b"", "with space é": b"x"}
    for name, content in files.items():
        (source / name).write_bytes(content)
    (source / "link").symlink_to("/etc/passwd")
    parts = pack(source, tmp_path / "parts", 10_000)
    assert len(parts) > 10
    names = unpack([tmp_path / "parts" / part["name"] for part in parts], tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in names} == files


def archive_of(path: Path, *members: tarfile.TarInfo) -> Path:
    """Writes an archive with these members, each with one byte of content where it is a file."""
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            member.size = 1 if member.isreg() else 0
            archive.addfile(member, io.BytesIO(b"x") if member.isreg() else None)
    return path


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", "a//b", "."])
def test_an_archive_cannot_write_outside_of_its_directory(tmp_path: Path, name: str) -> None:
    path = archive_of(tmp_path / "bad.tgz", tarfile.TarInfo(name))
    with pytest.raises(BadArchive):
        unpack([path], tmp_path / "target")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tgz", "target"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_an_archive_holds_plain_files_only(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("a")
    member.type = kind
    member.linkname = "/etc/passwd"
    with pytest.raises(BadArchive):
        unpack([archive_of(tmp_path / "bad.tgz", member)], tmp_path / "target")


def test_a_cut_archive_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "data").write_bytes(os.urandom(50_000))
    parts = pack(tmp_path / "run", tmp_path / "parts", 10_000)
    paths = [tmp_path / "parts" / part["name"] for part in parts]
    with pytest.raises(BadArchive):
        unpack(paths[:-1], tmp_path / "target")
