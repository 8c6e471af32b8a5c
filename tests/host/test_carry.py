"""A run's files on their way to the controller: whole, in parts, resumable, and never out of their place."""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource as limits
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compiler.resources import host_code, resource

host_code()

from deepep_host import packing  # noqa: E402
from deepep_host.assemble import distribute  # noqa: E402
from deepep_host.incoming import Busy, Incoming  # noqa: E402
from deepep_host.pack import BadArchive, make_index, number_of_parts, pieces_by_part, write_part  # noqa: E402
from deepep_host.state import ended, host_dir, new_state, run_dir, write_state  # noqa: E402

PART = 10_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A run's directory with files that compress and files that do not, over many parts."""
    folder = tmp_path / "run"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


FILES = {
    "state.json": b"{}",
    "logs/stdout.txt": b"one line\n" * 5_000,
    "logs/empty.txt": b"",
    "traces/rank-0000.json": os.urandom(60_000),
    "with space é": b"x",
}


def bring(source: Path, incoming: Incoming, index: dict[str, Any], most: int = 10**6) -> int:
    """Carries the missing parts, at most so many; returns how many were carried."""
    incoming.open(index)
    numbers = incoming.missing()[:most]
    for number in numbers:
        with incoming.part_path().open("wb") as stream:
            made = write_part(source, pieces_by_part(index)[number], stream)
        incoming.accept(number, made["sha256"])
    return len(numbers)


def content(incoming: Incoming) -> dict[str, bytes]:
    """Returns what has arrived, by path."""
    return {name: (incoming.files / name).read_bytes() for name in incoming.finish()}


def test_files_come_back_the_same_over_many_parts(source: Path, tmp_path: Path) -> None:
    index = make_index(source, part_bytes=PART)
    incoming = Incoming(tmp_path / "in")
    assert bring(source, incoming, index) == number_of_parts(index) > 10
    assert content(incoming) == FILES
    assert (incoming.files / "state.json").stat().st_mtime == int((source / "state.json").stat().st_mtime)


def test_what_has_arrived_is_not_fetched_again_after_a_killed_controller(
    source: Path, tmp_path: Path
) -> None:
    index = make_index(source, part_bytes=PART)
    assert bring(source, Incoming(tmp_path / "in"), index, most=4) == 4
    # Killed while a part was written: it was not in the journal yet.
    (tmp_path / "in" / "part").write_bytes(b"half")
    again = Incoming(tmp_path / "in")
    assert bring(source, again, index) == number_of_parts(index) - 4
    assert content(again) == FILES


def test_another_index_begins_anew(source: Path, tmp_path: Path) -> None:
    bring(source, Incoming(tmp_path / "in"), make_index(source, part_bytes=PART))
    (source / "logs/stdout.txt").write_bytes(b"it is longer now" * 10_000)
    incoming = Incoming(tmp_path / "in")
    bring(source, incoming, make_index(source, part_bytes=PART))
    assert content(incoming)["logs/stdout.txt"] == b"it is longer now" * 10_000


def test_records_come_first_then_logs_then_the_rest_and_traces_last(source: Path) -> None:
    order = [path for path, _, _ in make_index(source)["files"]]
    assert order == [
        "state.json",
        "logs/empty.txt",
        "logs/stdout.txt",
        "with space é",
        "traces/rank-0000.json",
    ]


def test_a_limit_leaves_out_what_is_beyond_and_says_so(source: Path) -> None:
    index = make_index(source, limit_bytes=50_000)
    assert [path for path, _, _ in index["files"]] == [
        "state.json",
        "logs/empty.txt",
        "logs/stdout.txt",
        "with space é",
    ]
    assert index["left_out"] == [{"path": "traces/rank-0000.json", "bytes": 60_000, "why": "limit"}]


def test_a_file_that_shrinks_or_vanishes_meanwhile_costs_itself_only(source: Path, tmp_path: Path) -> None:
    index = make_index(source, part_bytes=PART)
    (source / "logs/stdout.txt").write_bytes(b"short")
    (source / "with space é").unlink()
    incoming = Incoming(tmp_path / "in")
    bring(source, incoming, index)
    assert content(incoming)["logs/stdout.txt"].rstrip(b"\0") == b"short"
    assert content(incoming)["traces/rank-0000.json"] == FILES["traces/rank-0000.json"]


def test_links_special_files_and_hostile_names_stay_where_they_are(source: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    (source / "link").symlink_to(secret / "key")
    (source / "folder").symlink_to(secret)
    os.mkfifo(source / "fifo")
    (source / "two\nlines").write_text("x")
    (source / "esc\x1b[31m").write_text("x")
    (source / ("x" * 250)).write_text("x")
    (source / os.fsdecode(b"not-\xff-utf8")).write_text("x")
    (source / "back\\slash").write_text("x")
    index = make_index(source)
    assert {path for path, _, _ in index["files"]} == set(FILES)
    why = {one["path"]: one["why"] for one in index["left_out"]}
    assert {why.pop("link"), why.pop("folder")} == {"link"}
    assert why.pop("fifo") == "special"
    assert set(why.values()) == {"name"}
    assert len(why) == 5
    json.dumps(index).encode("ascii")


def test_a_file_that_becomes_a_link_after_it_was_offered_is_not_followed(
    source: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("s3cret" * 1_000)
    index = make_index(source, part_bytes=PART)
    (source / "with space é").unlink()
    (source / "with space é").symlink_to(tmp_path / "secret")
    (source / "logs").rename(tmp_path / "moved")
    (source / "logs").symlink_to(tmp_path / "moved")
    incoming = Incoming(tmp_path / "in")
    bring(source, incoming, index)
    found = content(incoming)
    assert found["with space é"] == b"\0"
    assert found["logs/stdout.txt"].strip(b"\0") == b""


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", "a//b", ".", "", "a\0b", 7, None])
def test_an_index_cannot_lead_out_of_its_directory(tmp_path: Path, name: Any) -> None:
    index = {"id": "x", "part_bytes": PART, "files": [[name, 1, 0]], "left_out": []}
    with pytest.raises(BadArchive):
        Incoming(tmp_path / "in").open(index)
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.pop("files"),
        lambda index: index.update(part_bytes=0),
        lambda index: index.update(part_bytes="1"),
        lambda index: index["files"].append(["a", -1, 0]),
        lambda index: index["files"].append(["a", "1", 0]),
        lambda index: index["files"].append(index["files"][0]),
        lambda index: index["files"].append(["a"]),
    ],
)
def test_an_index_that_makes_no_sense_is_refused(
    source: Path, tmp_path: Path, change: Callable[[Any], Any]
) -> None:
    index = make_index(source)
    change(index)
    with pytest.raises(BadArchive):
        Incoming(tmp_path / "in").open(index)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
        lambda data: data + b"x",
        lambda data: zlib.compress(zlib.decompress(data)[:-1]),
        lambda data: zlib.compress(zlib.decompress(data) + b"more"),
        lambda data: b"",
    ],
)
def test_a_part_that_is_not_what_was_packed_is_refused(
    source: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """Also where the host says that its hash is right."""
    index = make_index(source, part_bytes=PART)
    incoming = Incoming(tmp_path / "in")
    incoming.open(index)
    stream = io.BytesIO()
    made = write_part(source, pieces_by_part(index)[0], stream)
    wrong = damage(stream.getvalue())
    for sha256 in (made["sha256"], hashlib.sha256(wrong).hexdigest()):
        incoming.part_path().write_bytes(wrong)
        with pytest.raises(BadArchive):
            incoming.accept(0, sha256)
    assert 0 in incoming.missing()


def test_two_processes_do_not_fetch_the_same(tmp_path: Path) -> None:
    with Incoming(tmp_path / "in").alone(), pytest.raises(Busy), Incoming(tmp_path / "in").alone():
        pass


def test_placing_files_goes_on_after_an_interruption(source: Path, tmp_path: Path) -> None:
    index = make_index(source, part_bytes=PART)
    incoming = Incoming(tmp_path / "in")
    bring(source, incoming, index)
    names = incoming.finish()
    tree = tmp_path / "tree"
    first = distribute(incoming.files, names[:2], tree, "n1", True)
    again = Incoming(tmp_path / "in")
    assert bring(source, again, index) == 0
    placed = distribute(again.files, again.finish(), tree, "n1", True)
    assert set(first) < set(placed)
    assert all((tree / name).is_file() for name in placed)


def test_a_file_in_the_place_of_another_hosts_directory_goes_elsewhere(tmp_path: Path) -> None:
    for host, name in (("n1", "results/x/data"), ("n2", "results/x")):
        (tmp_path / host / name).parent.mkdir(parents=True)
        (tmp_path / host / name).write_text(host)
    distribute(tmp_path / "n1", ["results/x/data"], tmp_path / "tree", "n1", True)
    assert distribute(tmp_path / "n2", ["results/x"], tmp_path / "tree", "n2", False) == [
        "files/n2/results/x"
    ]


@pytest.fixture
def base(source: Path, tmp_path: Path) -> Path:
    """A host directory in which the run ``a/0`` has ended."""
    base = host_dir(tmp_path / "work", "20260101_000000-abcdef", "n1")
    run_dir(base, "a/0").parent.mkdir(parents=True)
    source.rename(run_dir(base, "a/0"))
    write_state(run_dir(base, "a/0"), ended(new_state("s", "a/0", "n1"), "exited", None, 0))
    return base


def test_small_files_come_along_with_the_index(base: Path) -> None:
    (run_dir(base, "a/0") / "traces/rank-0000.json").unlink()
    offered = packing.offer(base, "a/0", 0, 1_000_000)
    assert offered["state"]["outcome"] == "exited"
    assert offered["part"]["number"] == 0
    assert not (base / "parts").exists()
    assert packing.offer(base, "b/0", 0, 1_000_000) == {"state": None}


def test_parts_replace_those_before_and_a_full_disk_is_no_obstacle(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "PART_BYTES", PART)
    index = packing.offer(base, "a/0", 0, 0)["index"]
    first = packing.pack_parts(base, "a/0", 0, index["id"], [0, 1, 2], False)
    assert [part["number"] for part in first["parts"]] == [0, 1, 2]
    packing.pack_parts(base, "a/0", 0, index["id"], [3], False)
    folder = packing.parts_dir(base, "a/0")
    assert [path.name for path in folder.iterdir()] == ["part-000003"]
    monkeypatch.setattr(packing, "ROOM_LEFT", 1 << 62)
    full = packing.pack_parts(base, "a/0", 0, index["id"], [4, 5], False)
    assert full["part"]["number"] == 4
    assert not list(folder.iterdir())


def test_parts_of_files_that_changed_are_stale(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "PART_BYTES", PART)
    index = packing.offer(base, "a/0", 0, 0)["index"]
    with (run_dir(base, "a/0") / "logs/stdout.txt").open("ab") as file:
        file.write(b"more")
    assert packing.pack_parts(base, "a/0", 0, index["id"], [0], False) == {"stale": True}


LARGE = """
import sys, resource
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from deepep_host.incoming import Incoming
from deepep_host.pack import make_index, pieces_by_part, write_part
source, index = Path(sys.argv[2]), make_index(Path(sys.argv[2]))
incoming = Incoming(Path(sys.argv[3]))
incoming.open(index)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for number in incoming.missing():
    with incoming.part_path().open("wb") as stream:
        made = write_part(source, pieces_by_part(index)[number], stream)
    incoming.accept(number, made["sha256"])
incoming.finish()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_large_file_is_never_in_memory(tmp_path: Path) -> None:
    """200 MB through both sides in one process: it grows by a few chunks."""
    assert limits.RUSAGE_SELF == 0
    source = tmp_path / "run" / "traces"
    source.mkdir(parents=True)
    with (source / "rank-0000.json").open("wb") as file:
        file.truncate(200_000_000)
    code = resource("roles") / "deepep_common" / "module_utils"
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(code), str(tmp_path / "run"), str(tmp_path / "in")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 32 * 1024, "KiB"
