"""A small client for image registries (HTTP/1.1, standard library): may these credentials read this image?

It tells apart what users must act on differently, says who asked for what, and fetches manifests and layers
with their digests checked. Tokens stay in this object; nothing is written anywhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import platform
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Any

from .reference import DOCKER_HUB, Image

MISSING = "credentials_missing"
WRONG = "credentials_wrong"
EXPIRED = "credentials_expired"
NO_RIGHTS = "no_rights"
NO_IMAGE = "no_image"
DOWN = "registry_down"
UNTRUSTED = "tls_untrusted"
BUSY = "rate_limited"
UNUSABLE = "unusable_image"
DAMAGED = "damaged"

_INDEX = (
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)
_MANIFEST = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
_LARGEST_DOCUMENT = 16 * 1024 * 1024
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "amd64": "amd64", "arm64": "arm64"}
_PARAMETER = re.compile(r'([a-zA-Z0-9_-]+)="([^"]*)"')


class RegistryError(Exception):
    """What the registry said, for the user: ``code`` is one of the constants above."""

    def __init__(self, code: str, text: str, remedy: str) -> None:
        super().__init__(f"{text}: {remedy}")
        self.code = code
        self.text = text
        self.remedy = remedy


@dataclass(frozen=True)
class Login:
    """Who asks. ``identity`` marks a refresh token of an OAuth login in the place of a password."""

    user: str = ""
    secret: str = ""
    identity: bool = False
    source: str = ""
    """Where it was found, for messages."""

    def __repr__(self) -> str:
        return f"Login(user={self.user!r}, source={self.source!r})"

    def to_json(self) -> dict[str, Any]:
        """Returns it as JSON data, for a module's standard input and nothing else."""
        return {"user": self.user, "secret": self.secret, "identity": self.identity, "source": self.source}

    @property
    def known(self) -> bool:
        """Whether there is anything to log in with."""
        return bool(self.secret)


@dataclass(frozen=True)
class Blob:
    """Something of the registry's, named by its own SHA-256. ``size`` in bytes."""

    digest: str
    size: int
    media_type: str


@dataclass(frozen=True)
class Manifest:
    """An image of one platform. ``digest`` is what a pinned reference names, an index's where there is
    one.
    """

    digest: str
    manifest_digest: str
    config: Blob
    layers: tuple[Blob, ...]

    @property
    def size(self) -> int:
        """Bytes of all layers as the registry has them (compressed)."""
        return sum(layer.size for layer in self.layers)


class _Redirect(urllib.request.HTTPRedirectHandler):
    """Follows registries to their stores of layers, and takes the authorization along to nobody else."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        fresh = super().redirect_request(req, fp, code, msg, headers, newurl)
        given = req.unredirected_hdrs.get("Authorization")
        if fresh is not None and given and (fresh.host, fresh.type) == (req.host, req.type):
            fresh.add_unredirected_header("Authorization", given)
        return fresh


class Client:
    """Asks one registry as one user. ``timeout_s`` bounds each wait for the network."""

    def __init__(self, registry: str, login: Login, timeout_s: float = 20.0) -> None:
        self.registry = registry
        self.login = login
        self.received = 0
        """Bytes that came from the registry, layers and documents."""
        self.auth_host: str | None = None
        """Where the registry sends its users for tokens; it may be another host."""
        self._counting = threading.Lock()
        self._timeout = timeout_s
        self._authorization: str | None = None
        self._address = "registry-1.docker.io" if registry == DOCKER_HUB else registry
        self._scheme = "https"
        context = ssl.create_default_context()
        for path in _authorities(registry):
            context.load_verify_locations(str(path))
        for certificate, key in _client_certificates(registry):
            context.load_cert_chain(str(certificate), str(key))
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _Redirect())

    # ---- questions ----

    def manifest(self, image: Image, machine: str | None = None) -> Manifest:
        """Returns the manifest of an image for this machine's platform. Raises RegistryError."""
        body, digest, kind = self._document(image, image.version)
        if image.digest is not None and digest != image.digest:
            raise self._damaged(image, image.digest, digest)
        top = digest
        document = self._json(image, body)
        if kind in _INDEX or "manifests" in document:
            chosen = self._platform(image, document, machine or platform.machine())
            body, digest, kind = self._document(image, chosen)
            if digest != chosen:
                raise self._damaged(image, chosen, digest)
            document = self._json(image, body)
        if document.get("schemaVersion") != 2 or "config" not in document:
            raise RegistryError(
                UNUSABLE,
                f"{image.text} has a manifest of a kind that cannot be run ({kind or 'unknown'})",
                "push the image again with a current docker, podman or skopeo",
            )
        try:
            config = _blob(document["config"])
            layers = tuple(_blob(layer) for layer in document["layers"])
        except (KeyError, TypeError, ValueError) as error:
            raise RegistryError(
                UNUSABLE, f"{image.text} has a damaged manifest ({error})", "push the image again"
            ) from error
        return Manifest(top, digest, config, layers)

    def document(self, image: Image, blob: Blob) -> bytes:
        """Returns a small blob as a whole, checked. Raises RegistryError."""
        if blob.size > _LARGEST_DOCUMENT:
            raise RegistryError(
                UNUSABLE, f"{image.text} has a configuration of {blob.size} bytes", "push the image again"
            )
        with self.open_blob(image, blob) as stream:
            data = bytes(stream.read(blob.size + 1))
        self.count(len(data))
        found = "sha256:" + hashlib.sha256(data).hexdigest()
        if found != blob.digest:
            raise self._damaged(image, blob.digest, found)
        return data

    def open_blob(self, image: Image, blob: Blob, offset: int = 0) -> Any:
        """Returns a stream of a blob from ``offset`` on (callers check the digest). Raises RegistryError."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        answer = self._ask(image, f"/v2/{image.repository}/blobs/{blob.digest}", headers)
        if offset and answer.status != 206:
            _skip(answer, offset)
        return answer

    def count(self, size: int) -> None:
        """Adds to the bytes received; several threads fetch layers."""
        with self._counting:
            self.received += size

    # ---- how ----

    def _document(self, image: Image, version: str) -> tuple[bytes, str, str]:
        accept = {"Accept": ", ".join((*_MANIFEST, *_INDEX))}
        with self._ask(image, f"/v2/{image.repository}/manifests/{version}", accept) as answer:
            body = answer.read(_LARGEST_DOCUMENT + 1)
            kind = str(answer.headers.get_content_type())
        self.count(len(body))
        return body, "sha256:" + hashlib.sha256(body).hexdigest(), kind

    def _json(self, image: Image, body: bytes) -> dict[str, Any]:
        try:
            value = json.loads(body.decode("utf-8"))
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise RegistryError(
                DOWN,
                f"{self.registry} answers, but not as a registry does (asked for {image.text})",
                "check its name, and whether a proxy or login page answers in its place",
            )
        return value

    def _platform(self, image: Image, index: Mapping[str, Any], machine: str) -> str:
        wanted = _ARCHITECTURES.get(machine, machine)
        found = []
        for entry in index.get("manifests", ()):
            platform_ = entry.get("platform") or {}
            found.append(f"{platform_.get('os')}/{platform_.get('architecture')}")
            if platform_.get("os") == "linux" and platform_.get("architecture") == wanted:
                return str(entry["digest"])
        raise RegistryError(
            NO_IMAGE,
            f"{image.text} has no image for linux/{wanted}, only {', '.join(found) or 'nothing'}",
            "name an image that was built for these hosts",
        )

    def _ask(self, image: Image, path: str, headers: Mapping[str, str]) -> Any:
        """Returns the open answer to a GET, logging in where the registry wants it. Raises RegistryError."""
        for attempt in range(2):
            request = urllib.request.Request(self._url(path), headers=dict(headers))  # noqa: S310
            if self._authorization:
                request.add_unredirected_header("Authorization", self._authorization)
            try:
                return self._open(request)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code == 401 and attempt == 0:
                        # No login yet, or a token that has run out during a long download.
                        self._authorization = self._log_in(image, error)
                        if self._authorization:
                            continue
                    raise self._refusal(image, error) from None
        raise AssertionError("unreachable")

    def _open(self, request: urllib.request.Request) -> Any:
        try:
            return self._opener.open(request, timeout=self._timeout)
        except urllib.error.HTTPError:
            raise
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            if self._scheme == "https" and _loopback(self._address) and not _is_certificate(reason):
                # As docker does: a registry on this very machine may speak plain HTTP.
                self._scheme = "http"
                request.full_url = "http" + request.full_url[len("https") :]
                return self._open(request)
            raise self._unreachable(reason) from None

    def _url(self, path: str) -> str:
        return f"{self._scheme}://{self._address}{urllib.parse.quote(path, safe='/:@')}"

    def _log_in(self, image: Image, error: urllib.error.HTTPError) -> str | None:
        """Returns the header that answers the registry's challenge, None where there is none to give."""
        challenges = error.headers.get_all("WWW-Authenticate") or []
        for challenge in challenges:
            scheme, _, rest = challenge.partition(" ")
            values = dict(_PARAMETER.findall(rest))
            if scheme.lower() == "bearer" and "realm" in values:
                return f"Bearer {self._token(image, values)}"
        if any(challenge.lower().startswith("basic") for challenge in challenges) and self.login.known:
            return self._basic()
        return None

    def _basic(self) -> str:
        pair = f"{self.login.user}:{self.login.secret}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")

    def _token(self, image: Image, challenge: Mapping[str, str]) -> str:
        realm = urllib.parse.urlsplit(challenge["realm"])
        self.auth_host = realm.hostname
        if self.login.known and realm.scheme != "https" and not _loopback(realm.netloc):
            raise RegistryError(
                UNTRUSTED,
                f"{self.registry} wants the password of {self._who()} sent in clear to {realm.netloc}",
                "have its token service use https",
            )
        fields = [("service", challenge.get("service", "")),
                  ("scope", challenge.get("scope") or f"repository:{image.repository}:pull")]  # fmt: skip
        if self.login.identity:
            form = [*fields, ("grant_type", "refresh_token"), ("client_id", "deepep-compiler"),
                    ("refresh_token", self.login.secret)]  # fmt: skip
            request = urllib.request.Request(  # noqa: S310
                challenge["realm"], data=urllib.parse.urlencode(form).encode()
            )
        else:
            mark = "&" if realm.query else "?"
            request = urllib.request.Request(  # noqa: S310
                challenge["realm"] + mark + urllib.parse.urlencode(fields)
            )
            if self.login.known:
                request.add_unredirected_header("Authorization", self._basic())
        try:
            with self._open(request) as answer:
                values = self._json(image, answer.read(_LARGEST_DOCUMENT))
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(image, error, at_token=True) from None
        token = values.get("token") or values.get("access_token")
        if not token:
            raise RegistryError(
                DOWN,
                f"the token service of {self.registry} gave {self._who()} no token",
                "try again later, or ask who runs it",
            )
        return str(token)

    # ---- what went wrong ----

    def _who(self) -> str:
        if not self.login.known:
            return "nobody (no credentials)"
        user = f"user {self.login.user}" if self.login.user else "a token without user name"
        return f"{user} (from {self.login.source})" if self.login.source else user

    def _refusal(self, image: Image, error: urllib.error.HTTPError, at_token: bool = False) -> RegistryError:
        said = _said(error)
        tail = f" ({said})" if said else ""
        where, who = self.registry, self._who()
        if error.code == 429:
            return RegistryError(
                BUSY,
                f"{where} refuses more requests of {who} for now{tail}",
                "wait, or log in with an account that has a higher limit",
            )
        if error.code >= 500:
            return RegistryError(
                DOWN,
                f"{where} is not working: HTTP {error.code}{tail}",
                "try again later, or ask who runs it",
            )
        if error.code == 404:
            return self._not_found(image, said)
        if error.code not in (401, 403):
            return RegistryError(
                DOWN, f"{where} answers HTTP {error.code}{tail} for {image.text}", "check the registry's name"
            )
        if not self.login.known:
            return RegistryError(
                MISSING,
                f"{where} wants a login for {image.repository}, and there are no credentials for it",
                f"add {where} to deepep_registries, or log in with docker login {where}, or write a line "
                "into ~/.config/enroot/.credentials",
            )
        ended = expiry(self.login.secret)
        if "expired" in said.lower() or (ended is not None and ended < time.time()):
            when = f" at {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(ended))}" if ended else ""
            return RegistryError(
                EXPIRED,
                f"the credentials of {who} for {where} have expired{when}",
                "make a new token and put it in the same place",
            )
        token_granted = (self._authorization or "").startswith("Bearer ")
        # 403 is "known, but not allowed"; a token that was granted and does not suffice is the same.
        if error.code == 403 or (token_granted and not at_token):
            return RegistryError(
                NO_RIGHTS,
                f"{where} does not let {who} read {image.repository}{tail}",
                "have the owner of the repository give read access to this user (for a token: the scope "
                "to read the registry)",
            )
        return RegistryError(
            WRONG,
            f"{where} does not accept the password or token of {who}{tail}",
            "correct it where it stands",
        )

    def _not_found(self, image: Image, said: str) -> RegistryError:
        tags = self._tags(image)
        if image.digest is not None:
            what = f"{self.registry} has no {image.digest} in {image.repository}"
            way = "the image was deleted or never pushed: copy the digest from the registry again"
        elif tags:
            what = f"{self.registry} has {image.repository}, but not the tag {image.version}"
            way = f"its tags are {', '.join(tags[:8])}" + (" and more" if len(tags) > 8 else "")
        else:
            what = (
                f"{self.registry} has no image {image.repository}:{image.version} that {self._who()} may see"
            )
            way = "check the path and tag; some registries also answer so where rights are missing"
        return RegistryError(NO_IMAGE, what, way)

    def _tags(self, image: Image) -> list[str]:
        url = self._url(f"/v2/{image.repository}/tags/list") + "?n=50"
        request = urllib.request.Request(url)  # noqa: S310
        if self._authorization:
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                value = json.loads(answer.read(_LARGEST_DOCUMENT).decode("utf-8"))
            return [str(tag) for tag in value.get("tags") or ()]
        except (OSError, ValueError, AttributeError):
            return []

    def _unreachable(self, reason: object) -> RegistryError:
        where = self.registry
        if _is_certificate(reason):
            return RegistryError(
                UNTRUSTED,
                f"the certificate of {where} is not trusted here: "
                f"{getattr(reason, 'verify_message', reason)}",
                f"put its authority into /etc/docker/certs.d/{where}/ca.crt, "
                f"/etc/containers/certs.d/{where}/ "
                "or the system's own store, on the machine that pulls",
            )
        if isinstance(reason, ssl.SSLError):
            return RegistryError(
                UNTRUSTED, f"{where} speaks no TLS that is understood here: {reason}", "check its port"
            )
        if isinstance(reason, socket.gaierror):
            return RegistryError(
                DOWN,
                f"the name of registry {where} is not known here",
                "check its spelling and this host's DNS; where only the controller knows it, set "
                "deepep_image_pull_from: controller",
            )
        text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        return RegistryError(
            DOWN,
            f"registry {where} cannot be reached: {text}",
            "check that it runs and that no firewall is between; where only the controller reaches it, set "
            "deepep_image_pull_from: controller",
        )

    def _damaged(self, image: Image, wanted: str, found: str) -> RegistryError:
        return RegistryError(
            DAMAGED, f"{self.registry} sent {found} in the place of {wanted} ({image.text})", "try again"
        )


def chunks(stream: Any, size: int = 1 << 20) -> Iterator[bytes]:
    """Yields what comes from an open blob until its end. Raises OSError, also for a connection that
    breaks.
    """
    while True:
        try:
            data = stream.read(size)
        except ValueError as error:  # http.client, where a peer breaks the protocol
            raise OSError(str(error)) from error
        if not data:
            return
        yield data


def expiry(secret: str) -> float | None:
    """Returns when a token says that it ends (seconds since the epoch), None where it does not say.

    JSON Web Tokens have ``exp``, tokens of Amazon's registry ``expiration``.
    """
    parts = secret.split(".")
    for part in [parts[1]] if len(parts) == 3 else parts if len(parts) == 1 else []:
        try:
            value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        except (ValueError, binascii.Error):
            continue
        if isinstance(value, dict):
            when = value.get("exp", value.get("expiration"))
            if isinstance(when, (int, float)) and not isinstance(when, bool):
                return float(when)
    return None


def _blob(value: Mapping[str, Any]) -> Blob:
    digest = str(value["digest"])
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise ValueError(f"digest {digest[:80]!r}")
    return Blob(digest, int(value["size"]), str(value.get("mediaType", "")))


def _said(error: urllib.error.HTTPError) -> str:
    """Returns the registry's own words, one line."""
    try:
        value = json.loads(error.read(65536).decode("utf-8", "replace"))
    except (OSError, ValueError):
        return ""
    if not isinstance(value, dict):
        return ""
    first = value["errors"][0] if isinstance(value.get("errors"), list) and value["errors"] else value
    if not isinstance(first, dict):
        return ""
    text = first.get("message") or first.get("details") or first.get("error_description") or ""
    return " ".join(str(text).split())[:200]


def _skip(stream: Any, count: int) -> None:
    while count:
        data = stream.read(min(count, 1 << 20))
        if not data:
            raise OSError("the registry sent less than before")
        count -= len(data)


def _is_certificate(reason: object) -> bool:
    return isinstance(reason, ssl.SSLCertVerificationError)


def _loopback(address: str) -> bool:
    host = address.rpartition(":")[0] if re.search(r":\d+$", address) else address
    return host in ("localhost", "[::1]") or host.startswith("127.")


def _certificate_folders(registry: str) -> Iterator[Path]:
    for top in (
        Path("/etc/docker/certs.d"),
        Path("/etc/containers/certs.d"),
        Path("~/.config/containers/certs.d").expanduser(),
    ):
        yield top / registry


def _authorities(registry: str) -> Iterator[Path]:
    """Yields the files of authorities that docker or podman would trust for this registry."""
    for folder in _certificate_folders(registry):
        if folder.is_dir():
            yield from sorted(folder.glob("*.crt"))


def _client_certificates(registry: str) -> Iterator[tuple[Path, Path]]:
    for folder in _certificate_folders(registry):
        if folder.is_dir():
            for certificate in sorted(folder.glob("*.cert")):
                key = certificate.with_suffix(".key")
                if key.is_file():
                    yield certificate, key
