"""Image references in every form that users write: plain, with scheme, enroot's ``#``, files."""

from __future__ import annotations

import re
from dataclasses import dataclass

DOCKER_HUB = "docker.io"
HUB_NAMES = (DOCKER_HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_VARIABLE_USER = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*@")
"""NGC's user is called ``$oauthtoken``; any other ``$`` at the beginning is a path's."""
_SQUASHFS = (".sqsh", ".squashfs")
ARCHIVE = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


@dataclass(frozen=True)
class Image:
    """An image reference in parts. ``scheme`` is None for a plain reference; ``file``: the path of a file."""

    text: str
    file: bool
    scheme: str | None
    user: str | None
    registry: str | None
    path: str
    tag: str | None
    digest: str | None
    hash_form: bool
    """Registry and path are separated by enroot's ``#``."""

    @property
    def squashfs(self) -> bool:
        """Whether it is a file that enroot starts."""
        return self.file and self.path.endswith(_SQUASHFS)

    @property
    def local_store(self) -> bool:
        """Whether it names an image that docker or podman on the host has (``dockerd://``, ``podman://``)."""
        return self.scheme in ("dockerd", "podman")

    @property
    def host(self) -> str:
        """The registry to ask; Docker Hub where none is named. Empty where none is asked."""
        if self.file or self.local_store:
            return ""
        return registry_name(self.registry or DOCKER_HUB)

    @property
    def repository(self) -> str:
        """The path at the registry."""
        if self.host == DOCKER_HUB and "/" not in self.path:
            return f"library/{self.path}"
        return self.path

    @property
    def place(self) -> str:
        """Registry and repository, for which credentials are looked up. Empty where no registry is asked."""
        return f"{self.host}/{self.repository}" if self.host else ""

    @property
    def version(self) -> str:
        """What to ask the registry for: the digest where there is one, else the tag."""
        return self.digest or self.tag or "latest"


def parse(text: str) -> Image:
    """Returns the parts of any text; whether they are right is the linter's question."""
    variable = text.startswith("$") and not _VARIABLE_USER.match(text)
    if text.startswith(("/", "./", "../", "~")) or variable or text.endswith((*_SQUASHFS, *ARCHIVE)):
        return Image(text, True, None, None, None, text, None, None, False)
    scheme = _SCHEME.match(text)
    rest = text[scheme.end() :] if scheme else text
    rest, _, digest = rest.partition("@sha256:")
    user, at, after = rest.partition("@")
    rest = after if at else rest
    hash_form = "#" in rest
    registry: str | None
    if hash_form:
        registry, _, rest = rest.partition("#")
    else:
        first, slash, others = rest.partition("/")
        named = slash and ("." in first or ":" in first or first == "localhost")
        registry, rest = (first, others) if named else (None, rest)
    path, colon, tag = rest.partition(":")
    return Image(
        text=text,
        file=False,
        scheme=scheme.group(1).lower() if scheme else None,
        user=user if at else None,
        registry=registry,
        path=path,
        tag=tag if colon else None,
        digest=f"sha256:{digest}" if digest else None,
        hash_form=hash_form,
    )


def plain_text(image: Image) -> str:
    """Returns the reference as docker writes it."""
    text = f"{image.registry}/{image.path}" if image.registry else image.path
    text += f":{image.tag}" if image.tag else ""
    return text + (f"@{image.digest}" if image.digest else "")


def registry_name(name: str) -> str:
    """Returns one name for each registry: lower case, no scheme, no path, Docker Hub's aliases as one."""
    bare = _SCHEME.sub("", name.strip()).partition("/")[0].lower()
    return DOCKER_HUB if bare in HUB_NAMES else bare


def file_name(image: Image) -> str:
    """Returns a readable name for the file of an image, in the manner of CloudAI's cache but unambiguous.

    The port stays with the registry; the digest is not part of it (callers add one).
    """
    parts = [*([image.registry] if image.registry else []), *image.path.split("/")]
    text = "_".join(parts) + (f"__{image.tag}" if image.tag else "")
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:120]
