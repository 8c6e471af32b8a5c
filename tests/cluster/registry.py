"""A private registry in a lab: docker-registry with TLS, a certificate of its own, user and password."""

from __future__ import annotations

import base64
import json
import re
import secrets
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.machine import BOOT_S, LabError, Machine

if TYPE_CHECKING:
    from tests.cluster.lab import Lab

_ACCESS = re.compile(
    r'^(?P<address>\S+) - \S+ \[[^]]*\] "(?P<method>\S+) (?P<path>\S+) [^"]*" (?P<status>\d+) (?P<bytes>\d+)',
    re.MULTILINE,
)


@dataclass(frozen=True)
class Request:
    """One answer of the registry, from its access log."""

    address: str
    method: str
    path: str
    status: int
    bytes: int

    @property
    def is_blob(self) -> bool:
        """Whether a layer or configuration was downloaded."""
        return self.method == "GET" and "/blobs/sha256:" in self.path and self.status == 200


class Registry(Machine):
    """``registry.lab:5000``; a machine of its own, so that it can be cut off like any other."""

    NAME = "registry.lab:5000"
    USER = "bench"
    PASSWORD = "s3cret-" + secrets.token_hex(8)
    """Nowhere in a file before the test: a search for it finds what the run left, not this source."""

    def __init__(self, lab: Lab, name: str, address: str) -> None:
        super().__init__(lab, name, address)
        self._server: subprocess.Popen[bytes] | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        made = subprocess.run(
            ["htpasswd", "-Bin", self.USER], input=self.PASSWORD, text=True, capture_output=True, check=True
        )
        (self.folder / "htpasswd").write_text(made.stdout)
        login = base64.b64encode(f"{self.USER}:{self.PASSWORD}".encode()).decode()
        self.login.write_text(json.dumps({"auths": {self.NAME: {"auth": login}}}))
        self.login.chmod(0o600)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "30", "-keyout", self.folder / "key.pem", "-out", self.certificate, "-subj",
             "/CN=registry.lab", "-addext", f"subjectAltName=DNS:registry.lab,IP:{address}"],
            check=True,
            capture_output=True,
        )  # fmt: skip

    def files_of_hosts(self) -> dict[str, str]:
        """Returns what makes hosts trust the certificate."""
        text = self.certificate.read_text()
        return {f"/etc/{tool}/certs.d/{self.NAME}/ca.crt": text for tool in ("containers", "docker")}

    def start(self) -> None:
        """Starts the registry and waits until it answers."""
        data = self.folder
        config = {
            "version": "0.1",
            "log": {"level": "info", "formatter": "text"},
            "storage": {"filesystem": {"rootdirectory": str(data / "data")}, "delete": {"enabled": True}},
            "http": {
                "addr": ":5000",
                # enroot's basic authentication fails over HTTP/2.
                "http2": {"disabled": True},
                "tls": {"certificate": str(self.certificate), "key": str(data / "key.pem")},
            },
            "auth": {"htpasswd": {"realm": "lab", "path": str(data / "htpasswd")}},
        }
        (data / "config.yml").write_text(json.dumps(config))
        self._server = self.spawn("docker-registry", "serve", data / "config.yml", log=self.log)
        end = time.monotonic() + BOOT_S
        while not self._listens(5000, "tcp6"):
            if self._server.poll() is not None or time.monotonic() > end:
                raise LabError(f"the registry does not start: {self.log.read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stops the registry; its machine stays reachable."""
        self.signal("docker-registry", signal.SIGKILL)
        if self._server is not None:
            self._server.wait()

    @property
    def certificate(self) -> Path:
        """The certificate that clients must trust."""
        return self.folder / "crt.pem"

    @property
    def login(self) -> Path:
        """Its credentials as docker, podman and skopeo read them (``--authfile``)."""
        return self.folder / "login.json"

    @property
    def log(self) -> Path:
        """What the registry wrote."""
        return self.folder / "log"

    def requests(self, after: int = 0) -> list[Request]:
        """Returns the requests since the log had ``after`` bytes (``position``), the oldest first."""
        text = self.log.read_bytes()[after:].decode("utf-8", "replace")
        return [
            Request(one["address"], one["method"], one["path"], int(one["status"]), int(one["bytes"]))
            for one in _ACCESS.finditer(text)
        ]

    def position(self) -> int:
        """Returns the length of the log now."""
        return self.log.stat().st_size if self.log.exists() else 0

    def push(self, archive: Path, image: str) -> str:
        """Pushes a docker archive as ``image`` (``team/name:tag``); returns the digest of its manifest."""
        digest = self.folder / "digest"
        self.lab.controller.run(
            "skopeo", "copy", "--format", "v2s2", "--dest-cert-dir", self._certificates(), "--dest-authfile",
            self.login, "--digestfile", digest, f"docker-archive:{archive}",
            f"docker://{self.NAME}/{image}", check=True,
        )  # fmt: skip
        return digest.read_text().strip()

    def _certificates(self) -> Path:
        folder = self.folder / "certificates"
        folder.mkdir(exist_ok=True)
        (folder / "ca.crt").write_bytes(self.certificate.read_bytes())
        return folder
