"""A registry that answers as its ``mood`` says: for the answers that no registry here can be made to give.

A real one is asked in tests/cluster. Moods name what real services do: ``basic`` (htpasswd), ``token``
(Docker Hub, GitLab, NGC: a token service apart), and their ways to say no.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USER, PASSWORD = "bench", "pass word-of/bench+$1"
LAYERS = [b"first layer " * 5000, b"second layer " * 9000]


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


CONFIG = json.dumps(
    {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [sha256(x) for x in LAYERS]},
    }
).encode()
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/json", "digest": sha256(CONFIG), "size": len(CONFIG)},
        "layers": [{"mediaType": "tar", "digest": sha256(x), "size": len(x)} for x in LAYERS],
    }
).encode()
INDEX = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {"digest": sha256(b"arm"), "size": 3, "platform": {"os": "linux", "architecture": "arm64"}},
            {"digest": sha256(MANIFEST), "size": 1, "platform": {"os": "linux", "architecture": "amd64"}},
        ],
    }
).encode()


class StandIn:
    """What the server answers, and what it was asked."""

    def __init__(self) -> None:
        self.mood = "basic"
        self.requests: list[tuple[str, str | None]] = []
        """Path and Authorization of each request."""
        self.break_after: int | None = None
        """The next blob ends after so many bytes."""
        self.wrong_bytes = 0
        """So many blobs are sent damaged."""
        self.port = 0

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answer(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        url = urllib.parse.urlsplit(request.path)
        given = request.headers.get("Authorization")
        self.requests.append((request.path, given))
        if url.path == "/token":
            return self._token(given)
        refusal = self._refusal(given)
        if refusal is not None:
            return refusal
        if url.path.endswith("/tags/list"):
            return 200, {}, json.dumps({"tags": ["1", "index", "2.0"]}).encode()
        kind, _, what = url.path.rpartition("/")
        if kind.endswith("/manifests"):
            found = {"1": MANIFEST, sha256(MANIFEST): MANIFEST, "index": INDEX, sha256(INDEX): INDEX}.get(
                what
            )
            if found is None:
                return self._said(404, "MANIFEST_UNKNOWN", "manifest unknown")
            return 200, {"Content-Type": json.loads(found)["mediaType"]}, found
        if self.mood == "redirect" and "elsewhere" not in url.query:
            return 307, {"Location": f"http://localhost:{self.port}{url.path}?elsewhere"}, b""
        for blob in (CONFIG, *LAYERS):
            if what == sha256(blob):
                start = int((request.headers.get("Range") or "bytes=0-")[6:-1])
                return (206 if start else 200), {}, blob[start:]
        return self._said(404, "BLOB_UNKNOWN", "blob unknown")

    def _refusal(self, given: str | None) -> tuple[int, dict[str, str], bytes] | None:
        right = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        here = f"http://127.0.0.1:{self.port}/token"
        bearer = {"WWW-Authenticate": f'Bearer realm="{here}",service="stand-in",scope="repository:a/b:pull"'}
        if self.mood in ("open", "redirect"):
            return None
        if self.mood == "basic":
            if given == right:
                return None
            return self._said(
                401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": 'Basic realm="x"'}
            )
        if self.mood == "basic_forbidden":
            if given == right:
                return self._said(403, "DENIED", "requested access to the resource is denied")
            return self._said(401, "UNAUTHORIZED", "who?", {"WWW-Authenticate": 'Basic realm="x"'})
        if self.mood == "busy":
            return self._said(429, "TOOMANYREQUESTS", "You have reached your pull rate limit")
        if self.mood == "broken":
            return 503, {}, b"<html>down for maintenance"
        if self.mood == "login page":
            return 200, {"Content-Type": "text/html"}, b"<html>please log in"
        if given == "Bearer granted" and self.mood != "token_no_scope":
            return None
        if given == "Bearer granted":
            return self._said(401, "UNAUTHORIZED", "insufficient scope", bearer)
        return self._said(401, "UNAUTHORIZED", "authentication required", bearer)

    def _token(self, given: str | None) -> tuple[int, dict[str, str], bytes]:
        right = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.mood == "token_expired":
            return self._said(401, "UNAUTHORIZED", "Your authorization token has expired")
        if self.mood == "token_denied":
            return self._said(403, "DENIED", "access forbidden")
        if given != right and self.mood != "token_anonymous":
            return self._said(401, "UNAUTHORIZED", "HTTP Basic: Access denied")
        return 200, {}, json.dumps({"token": "granted"}).encode()

    @staticmethod
    def _said(
        status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        return status, headers or {}, json.dumps({"errors": [{"code": code, "message": message}]}).encode()


@contextmanager
def serve() -> Iterator[StandIn]:
    """Runs one on a free port of the loopback, over plain HTTP as docker allows there."""
    stand_in = StandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = stand_in.answer(self)
            blob = "/blobs/" in self.path and status in (200, 206)
            if blob and stand_in.wrong_bytes:
                stand_in.wrong_bytes -= 1
                body = b"\0" * len(body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if blob and stand_in.break_after is not None and len(body) > stand_in.break_after:
                body, stand_in.break_after = body[: stand_in.break_after], None
                self.close_connection = True
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stand_in.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
