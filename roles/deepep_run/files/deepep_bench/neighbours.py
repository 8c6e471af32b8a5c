"""Sentinels of neighbouring ranks, connected: all of them hear within moments that a rank or a host is gone.

The ranks' own heartbeats stop while a library holds Python's lock, as DeepEP does when it opens its buffers
or compiles; a sentinel always runs. Each is connected to those of the ranks that its rank watches. One whose
rank ended before its time says so, one whose host is lost says nothing any more; who notices tells all its
neighbours, and they theirs. Who cannot be connected (a firewall) is never missed. Standard library only.

A connection carries lines of JSON: first the listener's token and the caller's rank and host; then numbers
(heartbeats), an object (news: rank, host, text) or "done".
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import threading
import time
from typing import Any, Dict, Tuple

News = Dict[str, Any]
"""The rank and host that failed, and what is known of it."""
Address = Tuple[str, int, str]
"""Where a sentinel listens, and its token."""

_CALLS = 3
_MOST_CALLERS = 64


def listen(master_addr: str, master_port: int) -> tuple[socket.socket, Address]:
    """A listening socket on the address from which this host reaches the first one.

    :raises OSError: there is no such address
    """
    family, kind, _, _, there = socket.getaddrinfo(master_addr, master_port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(there)  # of a datagram socket: nothing is sent
        address = probe.getsockname()[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.bind((address, 0))
    listener.listen(_MOST_CALLERS)
    return listener, (address, listener.getsockname()[1], secrets.token_hex(16))


class Neighbours:
    """A sentinel's connections, each served by a thread. ``news`` is what was heard first."""

    def __init__(
        self, listener: socket.socket, token: str, rank: int, host: str, interval_s: float, silence_s: float
    ) -> None:
        """:param silence_s: how long a neighbour may say nothing"""
        self.news: News | None = None
        self.heard_at = 0.0
        self._listener = listener
        self._token = token
        self._me = (rank, host)
        self._interval_s = interval_s
        self._silence_s = silence_s
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._start(self._answer)
        self._start(self._beat)

    def call(self, rank: int, host: str, address: Address) -> None:
        """Connects to the sentinel of a rank, in the background."""
        self._start(self._call, rank, host, address)

    def tell(self, news: News) -> None:
        """Keeps the first news and passes them on; later ones are its consequences."""
        with self._lock:
            if self.news is not None:
                return
            self.news, self.heard_at = news, time.monotonic()
        self._send(news)

    def leave(self) -> None:
        """This rank ended well: nobody is to miss it."""
        self._send("done")

    # ---- threads

    def _start(self, target: Any, *given: Any) -> None:
        threading.Thread(target=target, args=given, daemon=True).start()

    def _answer(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            self._start(self._greet, connection)

    def _greet(self, connection: socket.socket) -> None:
        connection.settimeout(self._silence_s)
        with contextlib.suppress(OSError, ValueError, TypeError):  # a stranger, whatever it says
            lines = connection.makefile("rb")
            token, rank, host = json.loads(lines.readline(4096))
            if token == self._token:
                self._hear(connection, lines, rank, host)
        connection.close()

    def _call(self, rank: int, host: str, address: Address) -> None:
        for _ in range(_CALLS):
            try:
                connection = socket.create_connection(address[:2], timeout=self._silence_s)
                connection.sendall(_line([address[2], *self._me]))
            except OSError:
                time.sleep(self._interval_s)
                continue
            self._hear(connection, connection.makefile("rb"), rank, host)
            connection.close()
            return

    def _hear(self, connection: socket.socket, lines: Any, rank: int, host: str) -> None:
        with self._lock:
            self._connections.append(connection)
            news = self.news
        if news is not None:  # of before this neighbour was there
            self._send(news)
        text = "its process ended"
        try:
            for line in lines:
                said = json.loads(line)
                if said == "done":
                    return
                if isinstance(said, dict):
                    self.tell(said)
        except socket.timeout:
            text = f"silent for {self._silence_s:g} s: its host is lost, or cannot be reached any more"
        except (ConnectionError, ValueError):
            pass  # killed together with its rank, perhaps within a line
        except OSError as error:
            text = f"its host is lost, or cannot be reached any more: {error.strerror}"
        finally:
            with self._lock:
                self._connections.remove(connection)
        self.tell({"rank": rank, "host": host, "text": text})

    def _beat(self) -> None:
        number = 0
        while True:
            time.sleep(self._interval_s)
            number += 1
            self._send(number)

    def _send(self, said: Any) -> None:
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):  # it is heard that this one is gone
                    connection.sendall(_line(said))


def _line(said: Any) -> bytes:
    return json.dumps(said).encode("ascii") + b"\n"
