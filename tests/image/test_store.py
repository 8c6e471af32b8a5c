"""Image files on a host: whole or not there, made by one at a time, and never on a disk that is too small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from deepep_host.image import store


def test_a_changed_file_is_no_longer_the_one_that_was_checked(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    store.partial(path).write_bytes(b"content")
    assert store.describe(path) is None
    store.settle(path, {"reference": "r", "digest": "sha256:1"})
    assert not store.partial(path).exists()
    assert store.describe(path) is not None
    assert [found for found, _ in store.notes(tmp_path, "r")] == [path]
    path.write_bytes(b"c")  # a one-byte file under the right name
    assert store.describe(path) is None
    assert list(store.notes(tmp_path, "r")) == []


HOLDER = """
import sys, time; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from deepep_host.image import store
claim = store.Claim(Path(sys.argv[2]))
assert claim.take(lambda: False, lambda: None, 1)
if sys.argv[3] == "uses":
    claim.share()
print("held", flush=True); time.sleep(600)
"""


def hold(path: Path, how: str) -> subprocess.Popen[str]:
    """Starts a process that makes or uses a file."""
    top = Path(store.__file__).resolve().parents[2]
    argv = [sys.executable, "-c", HOLDER, top, path, how]
    other = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    return other


def test_only_one_makes_a_file_and_a_killed_one_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    other = hold(path, "makes")
    waited: list[int] = []
    mine = store.Claim(path)
    with pytest.raises(TimeoutError, match=r"making image\.tar"):
        mine.take(lambda: False, lambda: waited.append(1), 0.5)
    assert waited
    store.partial(path).write_bytes(b"half")
    assert store.sweep(tmp_path) == []  # in use
    other.kill()
    other.wait()
    assert mine.take(lambda: False, lambda: None, 5)
    mine.close()
    assert store.sweep(tmp_path, dry=True) == [str(store.partial(path))]
    assert store.sweep(tmp_path) == [str(store.partial(path))]
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_import_left_goes_and_others_files_stay(tmp_path: Path) -> None:
    used, killed = tmp_path / "used.sqsh", tmp_path / "killed.sqsh"
    claim = store.Claim(killed)
    assert claim.take(lambda: False, lambda: None, 5)
    claim.close()
    other = hold(used, "makes")
    layers = {}
    for path in (used, killed, tmp_path / "foreign"):
        store.partial(path).write_bytes(b"half")
        layers[path] = tmp_path / f".{path.name}.part.enroot"
        (layers[path] / "tmp").mkdir(parents=True)
    (tmp_path / "foreign.relay").touch()
    (tmp_path / "apt.lock").touch()
    gone = [str(store.partial(killed)), str(layers[killed])]
    assert store.sweep(tmp_path, dry=True, shared=True) == gone
    assert store.sweep(tmp_path, shared=True) == gone
    assert {path.name for path in tmp_path.iterdir()} == {
        "apt.lock", "foreign.part", "foreign.relay", ".foreign.part.enroot",
        "used.sqsh.lock", "used.sqsh.part", ".used.sqsh.part.enroot",
    }  # fmt: skip
    # The work directory's own folder holds nothing but ours.
    assert store.sweep(tmp_path) == [str(tmp_path / "foreign.part"), str(layers[tmp_path / "foreign"])]
    other.kill()
    other.wait()


def test_a_file_that_others_use_can_be_used_and_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(b"whole")
    other = hold(path, "uses")
    mine = store.Claim(path)
    assert not mine.take(lambda: True, lambda: None, 5)
    mine.close()
    assert not store.is_free(path)
    other.kill()
    other.wait()
    assert store.is_free(path)


def test_a_lock_that_was_removed_meanwhile_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    mine, theirs = store.Claim(path), store.Claim(path)
    (tmp_path / "image.tar.lock").unlink()
    assert mine.take(lambda: False, lambda: None, 5)
    with pytest.raises(TimeoutError):
        theirs.take(lambda: False, lambda: None, 0.3)
    mine.close()
    theirs.close()


def test_a_folder_that_was_removed_meanwhile_is_made_again(tmp_path: Path) -> None:
    """Another session's cleanup finds it empty while this one waits for that one's file."""
    path = tmp_path / "work" / "images" / "image.tar"
    theirs, mine = store.Claim(path), store.Claim(path)
    assert theirs.take(lambda: False, lambda: None, 5)

    def leave() -> None:
        (path.parent / "image.tar.lock").unlink()
        path.parent.rmdir()
        path.parent.parent.rmdir()
        theirs.close()

    assert mine.take(lambda: False, leave, 60)
    assert [each.name for each in path.parent.iterdir()] == ["image.tar.lock"]
    mine.close()


def test_a_disk_that_is_too_small_is_told_with_figures(tmp_path: Path) -> None:
    there = store.free(tmp_path)[0]
    store.check_room([(tmp_path / "not" / "yet", 1, "the image's file")])
    with pytest.raises(store.NoRoom, match=r"GB free and needs .* for the image's file .* and .* podman"):
        # Each of them would fit alone.
        half = int(there * 0.6)
        store.check_room([(tmp_path, half, "the image's file"), (tmp_path, half, "podman's own copy")])


def test_a_squashfs_file_that_is_cut_off_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "x.sqsh"
    path.write_bytes(b"hsqs" + bytes(36) + (5000).to_bytes(8, "little") + bytes(5000))
    assert store.squashfs_problem(path) is None
    path.write_bytes(path.read_bytes()[:4000])
    assert "not whole: 4000 of 5000" in str(store.squashfs_problem(path))
    path.write_bytes(b"x")
    assert "no squashfs" in str(store.squashfs_problem(path))


def test_pieces_cover_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "STRETCH", 1000)
    path = tmp_path / "x"
    for size in (0, 999, 1000, 2500):
        path.write_bytes(bytes(size))
        sha256, pieces = store.measure(path, lambda _done: None)
        assert sum(piece.size for piece in pieces) == size
        assert len(sha256) == 64
