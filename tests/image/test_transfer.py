"""From host to host: only with the session's token, only the right bytes, also while they still arrive."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from deepep_host.image import peers
from deepep_host.image.archive import Piece
from deepep_host.image.incoming import Incoming

from compiler.resources import resource

sys.path.insert(0, str(resource("roles") / "deepep_common" / "controller"))

DATA = [os.urandom(300_000), b"", os.urandom(700_001), os.urandom(5)]
PIECES = [Piece(len(data), hashlib.sha256(data).hexdigest()) for data in DATA]


def secrets() -> peers.Secrets:
    import deepep_secrets

    return peers.Secrets(**deepep_secrets._make())


SHARED = secrets()


def fill(incoming: Incoming, data: list[bytes], pause: Callable[[], None] = lambda: None) -> None:
    for index in incoming.missing():
        incoming.start_piece(index)
        for start in range(0, len(data[index]), 100_000):
            incoming.write(index, data[index][start : start + 100_000])
            pause()
        incoming.end_piece(index, hashlib.sha256(data[index]).hexdigest())


def serve(source: Incoming | Path) -> peers.Server:
    return peers.Server("127.0.0.1", SHARED, "key", lambda: source)


def whole(tmp_path: Path, name: str = "whole") -> Path:
    path = tmp_path / name
    path.write_bytes(b"".join(DATA))
    return path


def test_a_whole_file_arrives_and_goes_on_where_it_was(tmp_path: Path) -> None:
    server = serve(whole(tmp_path))
    target = Incoming(tmp_path / "target", PIECES)
    target.write(0, DATA[0])
    target.end_piece(0, PIECES[0].sha256)
    peers.fetch("127.0.0.1", server.port, SHARED, "key", target)
    server.close()
    assert target.path.read_bytes() == b"".join(DATA)
    assert target.missing() == []
    assert server.served == len(DATA[2]) + len(DATA[3])


def test_a_file_is_passed_on_while_it_still_arrives(tmp_path: Path) -> None:
    first, second, third = (Incoming(tmp_path / name, PIECES) for name in ("a", "b", "c"))
    one, two = serve(first), serve(second)
    gate = threading.Event()
    workers = [
        threading.Thread(target=peers.fetch, args=("127.0.0.1", one.port, SHARED, "key", second)),
        threading.Thread(target=peers.fetch, args=("127.0.0.1", two.port, SHARED, "key", third)),
        threading.Thread(target=fill, args=(first, DATA, gate.wait)),
    ]
    for worker in workers:
        worker.start()
    limit = time.monotonic() + 30
    while not third.available() and time.monotonic() < limit:
        time.sleep(0.01)
    # The last in the chain has something before the first has everything.
    assert third.available() > 0
    assert first.missing()
    gate.set()
    for worker in workers:
        worker.join(30)
    one.close()
    two.close()
    assert third.path.read_bytes() == b"".join(DATA)


def test_wrong_bytes_are_noticed_and_never_become_the_file(tmp_path: Path) -> None:
    bad = whole(tmp_path)
    with bad.open("r+b") as stream:
        stream.seek(400_000)
        # Whatever is there: a byte of random data is some letter's once in 256 times.
        stream.write(bytes([DATA[2][100_000] ^ 1]))
    server = serve(bad)
    target = Incoming(tmp_path / "target", PIECES)
    with pytest.raises(peers.Lost, match="digest"):
        peers.fetch("127.0.0.1", server.port, SHARED, "key", target)
    server.close()
    assert target.missing() == [2, 3]
    good = serve(whole(tmp_path, "good"))
    peers.fetch("127.0.0.1", good.port, SHARED, "key", target)
    good.close()
    assert target.path.read_bytes() == b"".join(DATA)


def test_a_source_that_ends_early_is_lost_and_what_came_is_kept(tmp_path: Path) -> None:
    source = Incoming(tmp_path / "source", PIECES)
    source.write(0, DATA[0])
    source.end_piece(0, PIECES[0].sha256)
    server = serve(source)
    threading.Timer(0.3, source.close).start()
    target = Incoming(tmp_path / "target", PIECES)
    with pytest.raises(peers.Lost, match="early"):
        peers.fetch("127.0.0.1", server.port, SHARED, "key", target)
    server.close()
    assert target.missing() == [2, 3]


def test_nobody_without_the_sessions_secrets_gets_anything(tmp_path: Path) -> None:
    server = serve(whole(tmp_path))
    target = Incoming(tmp_path / "target", PIECES)
    with pytest.raises(peers.Lost, match="403"):
        guessed = SHARED._replace(token="guessed")  # noqa: S106 - wrong
        peers.fetch("127.0.0.1", server.port, guessed, "key", target)
    with pytest.raises(peers.Lost, match="404"):
        peers.fetch("127.0.0.1", server.port, SHARED, "../../etc/passwd", target)
    with pytest.raises(peers.Lost, match="another"):
        peers.fetch("127.0.0.1", server.port, secrets(), "key", target)
    plain = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    with pytest.raises((http.client.HTTPException, OSError)):
        plain.request("GET", "/key")
        plain.getresponse()
    # Whoever does not care about our certificate.
    open_context = ssl._create_unverified_context()  # noqa: S323
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=5, context=open_context)
    connection.request("GET", "/key")
    assert connection.getresponse().status == 403
    server.close()
    assert target.arrived == 0


def test_a_peer_behind_a_firewall_is_unreachable(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(peers.Unreachable, match="no connection"):
            peers.fetch("127.0.0.1", port, SHARED, "key", Incoming(tmp_path / "target", PIECES))
