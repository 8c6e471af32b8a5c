"""Secrets on the controller: a user's registry credentials, and what a session's hosts share for
transfers.
"""

from __future__ import annotations

import datetime
import json
import os
import secrets
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from deepep_host import credential_sources, credentials
from deepep_host.files import write_bytes
from deepep_host.registry import Login
from deepep_host.session import Session

VARIABLE = "deepep_image_credentials"
DAY_S = 86400.0


class CredentialsError(Exception):
    """``deepep_registries`` cannot be read; the text names no secret."""


def entries(templar: Any, variables: Mapping[str, Any]) -> list[dict[str, str]]:
    """Returns ``deepep_registries`` with its lookups done and its vaults open. Raises CredentialsError.

    Read here and not in the task, so that no secret is ever an argument that Ansible shows or logs.
    """
    raw = variables.get(VARIABLE)
    if raw is None:
        raw = variables.get("deepep_registries")
    if raw is None:
        return []
    try:
        value = templar.template(raw)
    except AnsibleError as error:
        # The message of a lookup may show what it got.
        raise CredentialsError(
            f"deepep_registries cannot be evaluated ({type(error).__name__}): is the vault password "
            f"given, does "
            "each lookup work? Try: ansible-inventory --host HOST"
        ) from None
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise CredentialsError(
            "deepep_registries is no list: write - {registry: ..., username: ..., password: ...}"
        )
    found = []
    for item in value:
        if not isinstance(item, Mapping):
            raise CredentialsError("deepep_registries: each entry has the keys registry, username, password")
        found.append({name: str(item.get(name) or "") for name in ("registry", "username", "password")})
    return found


def login(place: str, templar: Any, variables: Mapping[str, Any]) -> Login:
    """Returns the login for ``registry[/repository]``. Raises CredentialsError."""
    try:
        return credential_sources.find(place, entries(templar, variables), os.environ)
    except credential_sources.SourceError as error:
        raise CredentialsError(str(error)) from None


# ---- between hosts ----


def transfer_path(session: Session) -> Path:
    """Returns where the controller keeps what this session's hosts share: in memory, for the workers of
    one play.
    """
    places = credentials.folders()
    folder = places[0] if places else Path(tempfile.gettempdir())
    return folder / f"deepep-transfer-{session.run_id}.json"


def transfer(session: Session) -> dict[str, str]:
    """Returns certificate, key and token of a session; the first worker that asks makes them."""
    path = transfer_path(session)
    if not path.exists():
        for left in path.parent.glob("deepep-transfer-*.json"):
            # Of a session whose playbook was killed: its servers have ended long ago.
            if left.stat().st_uid == os.geteuid() and time.time() - left.stat().st_mtime > DAY_S:
                left.unlink()
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        write_bytes(fresh, json.dumps(_make()).encode("ascii"), mode=0o600)
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return dict(json.loads(path.read_text(encoding="ascii")))


def forget_transfer(session: Session) -> None:
    """Removes what the hosts shared."""
    path = transfer_path(session)
    if path.exists():
        path.unlink()


def _make() -> dict[str, str]:
    # ansible-core itself needs this package, so it is there.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "deepep session")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of hosts differ.
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=3))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    return {
        "certificate": certificate.public_bytes(encoding).decode("ascii"),
        "key": key.private_bytes(
            encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode("ascii"),
        "token": secrets.token_urlsafe(32),
    }
