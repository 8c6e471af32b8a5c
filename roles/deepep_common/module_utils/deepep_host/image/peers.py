"""From host to host: a file that is served, also while it still arrives, and fetched by pieces.

HTTPS with a certificate and a token that the controller made for this session and gave to its hosts over SSH:
no host has to trust another one for anything else. What arrives is checked by digests that came over SSH too.
The server ends with its agent; nothing else on the host can be asked for through it.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import os
import re
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Union

from .incoming import CHUNK, BadPiece, Incoming

Source = Union[Incoming, Path]
"""A file on its way here, or one that is whole."""

CONNECT_S = 5.0
"""How long a peer may take to answer at all: one behind a firewall answers never."""
STALL_S = 60.0
"""How long a peer may send nothing. It may itself wait for the registry."""
_RANGE = re.compile(r"bytes=(\d+)-")


class Unreachable(Exception):
    """No connection to the peer: most likely a firewall."""


class Lost(Exception):
    """The peer stopped sending, or does not have what it should."""


class Secrets(NamedTuple):
    """What the hosts of one session share for their transfers; PEM texts and a random token."""

    certificate: str
    key: str
    token: str


class Server:
    """Serves one file on one address until it is closed. ``port`` is the one it got."""

    def __init__(self, address: str, secrets: Secrets, key: str, source: Callable[[], Source]) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _load(context, secrets)
        self.served = 0
        """Bytes sent to peers."""
        self._server = _Listener((address, 0), _handler(self, secrets.token, key, source))
        self._server.context = context
        self.port = int(self._server.server_address[1])
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True
        ).start()

    def close(self) -> None:
        """Takes no more requests; those under way end with the process."""
        self._server.shutdown()
        self._server.server_close()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    context: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        # In the thread of the request: a peer that connects and says nothing holds up nobody else.
        request.settimeout(STALL_S)
        with self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: the peer sees that the connection ended, and port scanners are no news."""


def _handler(server: Server, token: str, key: str, source: Callable[[], Source]) -> type:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "deepep"
        sys_version = ""

        def do_GET(self) -> None:
            given = self.headers.get("Authorization") or ""
            if not hmac.compare_digest(given.encode("utf-8", "replace"), f"Bearer {token}".encode()):
                self._refuse(403)
                return
            if self.path != f"/{key}":
                self._refuse(404)
                return
            match = _RANGE.fullmatch(self.headers.get("Range") or "bytes=0-")
            what = source()
            size = what.size if isinstance(what, Incoming) else what.stat().st_size
            offset = int(match.group(1)) if match else size
            if offset >= size:
                self._refuse(416)
                return
            self.send_response(206)
            self.send_header("Content-Length", str(size - offset))
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            self._send(what, offset, size)

        def _send(self, what: Source, offset: int, size: int) -> None:
            # Opened once: the file may be renamed meanwhile, it stays the same file.
            path = what.path if isinstance(what, Incoming) else what
            with path.open("rb", buffering=0) as stream:
                while offset < size:
                    there = what.wait_for(offset, STALL_S) if isinstance(what, Incoming) else size
                    if there <= offset:
                        return
                    data = os.pread(stream.fileno(), min(CHUNK, there - offset), offset)
                    if not data:
                        return
                    self.wfile.write(data)
                    offset += len(data)
                    server.served += len(data)

        def _refuse(self, code: int) -> None:
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """No log: the agent's state says what happens."""

    return Handler


def fetch(address: str, port: int, secrets: Secrets, key: str, target: Incoming) -> None:
    """Fills ``target`` from a peer, going on where it is. Raises Unreachable, Lost, OSError (a full disk)."""
    missing = target.missing()
    if not missing:
        return
    first = missing[0]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The one certificate of this session, whatever address it is served from.
    context.check_hostname = False
    context.load_verify_locations(cadata=secrets.certificate)
    connection = http.client.HTTPSConnection(address, port, timeout=CONNECT_S, context=context)
    try:
        try:
            connection.connect()
        except ssl.SSLError as error:
            raise Lost(
                f"{address}:{port} is another service or another session's ({error.reason})"
            ) from error
        except OSError as error:
            raise Unreachable(f"no connection to {address}:{port}: {error.strerror or error}") from error
        connection.sock.settimeout(STALL_S + 10.0)
        headers = {"Authorization": f"Bearer {secrets.token}", "Range": f"bytes={target.offsets[first]}-"}
        try:
            connection.request("GET", f"/{key}", headers=headers)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise Lost(f"{address}:{port} gave no answer: {_text(error)}") from error
        if answer.status != 206:
            raise Lost(f"{address}:{port} answers {answer.status}")
        _receive(answer, target, missing, f"{address}:{port}")
    finally:
        connection.close()


def _receive(answer: Any, target: Incoming, missing: list[int], peer: str) -> None:
    lacking = set(missing)
    for index in range(missing[0], len(target.pieces)):
        wanted = index in lacking
        left = target.pieces[index].size
        digest = hashlib.sha256()
        if wanted:
            target.start_piece(index)
        while left:
            try:
                # What is there, not all that was asked for: others wait for it behind this host.
                data = answer.read1(min(CHUNK, left))
            except (OSError, http.client.HTTPException) as error:
                raise Lost(f"{peer} stopped sending: {_text(error)}") from error
            if not data:
                raise Lost(f"{peer} ended the transfer early")
            left -= len(data)
            if wanted:
                target.write(index, data)
                digest.update(data)
        if wanted:
            try:
                target.end_piece(index, digest.hexdigest())
            except BadPiece as error:
                raise Lost(f"{peer}: {error}") from error


def _text(error: Exception) -> str:
    if isinstance(error, socket.timeout):
        return "it was silent for too long"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _load(context: ssl.SSLContext, secrets: Secrets) -> None:
    """Loads certificate and key without a file that anybody else could read, or that has a name."""
    handle = os.memfd_create("deepep") if hasattr(os, "memfd_create") else _unnamed()
    try:
        os.write(handle, (secrets.certificate + secrets.key).encode("ascii"))
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def _unnamed() -> int:
    handle, name = tempfile.mkstemp(dir="/dev/shm")
    Path(name).unlink()
    return handle
