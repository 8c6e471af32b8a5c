"""Image references: readable, pinned, and usable by the container runtime; and the credentials for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic, Place
from compiler.diagnostics.wording import quoted, value_text

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_SQUASHFS = (".sqsh", ".squashfs")
_ARCHIVE = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_DAEMONS = ("dockerd", "podman")


@dataclass(frozen=True, slots=True)
class Image:
    """An image reference in parts. ``scheme`` is None for a plain reference; ``file`` for a file."""

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


def parse(text: str) -> Image:
    """Returns the parts of any text; whether they are right is :func:`problem`'s question."""
    if text.startswith(("/", "./", "../", "~", "$")) or text.endswith((*_SQUASHFS, *_ARCHIVE)):
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
        scheme=scheme[1].lower() if scheme else None,
        user=user if at else None,
        registry=registry,
        path=path,
        tag=tag if colon else None,
        digest=f"sha256:{digest}" if digest else None,
        hash_form=hash_form,
    )


def problem(image: Image) -> tuple[str, str] | None:
    """Returns what no runtime could use and what to write instead, or None."""
    if image.file:
        if image.path.startswith("/"):
            return None
        return (
            f"{value_text(image.path)} is no absolute path",
            "write the file's absolute path on the hosts",
        )
    if image.scheme is not None and image.scheme not in ("docker", *_DAEMONS):
        return (
            f"{image.scheme}:// is no way to an image",
            f"write {value_text(image.text.partition('://')[2] or 'registry/organisation/image:tag')}",
        )
    parts = image.path.split("/")
    if "#" in image.path or image.registry == "":
        return "a reference has one '#', between registry and path", "write registry#organisation/image:tag"
    if not all(_NAME.fullmatch(part) for part in parts):
        if all(_NAME.fullmatch(part.lower()) for part in parts):
            lower = image.text.replace(image.path, image.path.lower())
            return f"{value_text(image.path)} has capital letters", f"write {value_text(lower)}"
        return (
            f"{value_text(image.path)} is no path of an image",
            "write registry/organisation/image:tag with lower-case names",
        )
    if image.tag is not None and not _TAG.fullmatch(image.tag):
        return f"{value_text(image.tag)} is no tag", "write a tag of letters, digits, '_', '.' and '-'"
    if image.digest is not None and not _DIGEST.fullmatch(image.digest):
        return "the digest is not sha256: and 64 hexadecimal digits", "copy the whole digest"
    return None


def unusable(image: Image, runtime: str) -> tuple[str, str] | None:
    """Returns why a runtime cannot use a (right) reference and what to write instead, or None."""
    if image.file:
        return _unusable_file(image, runtime)
    if runtime not in ("docker", "podman"):
        return None
    if image.user is not None:
        plain = image.text.replace(f"{image.user}@", "", 1)
        return (
            f"{runtime} takes no user in a reference ({value_text(image.user)})",
            f"write {value_text(plain)}; users stand in deepep_registries",
        )
    if image.scheme is not None:
        return (
            f"{runtime} takes a reference without {image.scheme}://",
            f"write {value_text(plain_text(image))}",
        )
    return None


def _unusable_file(image: Image, runtime: str) -> tuple[str, str] | None:
    archive = image.path.endswith(_ARCHIVE)
    if runtime == "enroot" and archive:
        return (
            "enroot cannot start a docker archive",
            "name a .sqsh file (docker load, then enroot import dockerd://...), or set "
            "deepep_container_runtime: docker or podman",
        )
    if runtime in ("docker", "podman") and not archive:
        return (
            f"{runtime} cannot start a squashfs file",
            "name the image in its registry or an archive of docker save (.tar), or set "
            "deepep_container_runtime: enroot",
        )
    return None


@dataclass(frozen=True, slots=True)
class Source:
    """Where a runtime gets an image from.

    ``kind`` is ``registry``, ``daemon`` (enroot alone: from the host's own docker or podman), ``squashfs`` or
    ``archive``. ``reference`` is what the runtime is given to pull or import: complete, with registry and
    tag or digest; for a file its path. ``registry`` is host and port as the registry is asked for
    credentials, None unless ``kind`` is ``registry``.
    """

    kind: str
    reference: str
    registry: str | None


def source(text: str, runtime: str) -> Source:
    """Returns where ``runtime`` gets the (right and usable) image ``text`` from.

    A digest makes the tag superfluous: not every version of the runtimes takes both.
    """
    image = parse(text)
    if image.file:
        return Source("archive" if image.path.endswith(_ARCHIVE) else "squashfs", image.path, None)
    version = f"@{image.digest}" if image.digest else f":{image.tag or 'latest'}"
    if image.scheme in _DAEMONS:
        return Source("daemon", f"{image.scheme}://{plain_text(image)}", None)
    hub = image.registry is None or image.registry in _HUB
    path = f"library/{image.path}" if hub and "/" not in image.path else image.path
    if runtime != "enroot":
        registry = "docker.io" if hub else image.registry
        return Source("registry", f"{registry}/{path}{version}", registry)
    user = f"{image.user}@" if image.user else ""
    # The form with '#' is the one that all versions of enroot read; without a registry it means Docker Hub.
    return Source(
        "registry",
        f"docker://{user}{'' if hub else f'{image.registry}#'}{image.path if hub else path}{version}",
        "registry-1.docker.io" if hub else image.registry,
    )


def plain_text(image: Image) -> str:
    """Returns the reference as docker writes it."""
    text = f"{image.registry}/{image.path}" if image.registry else image.path
    text += f":{image.tag}" if image.tag else ""
    return text + (f"@{image.digest}" if image.digest else "")


def check(text: str, runtime: str | None, place: Place) -> Iterator[Diagnostic]:
    """Yields what is wrong with an image; ``runtime`` is None where nobody knows it yet."""
    image = parse(text)
    wrong = problem(image)
    if wrong:
        yield finding("bad-image", f"docker_image_url = {value_text(text)}: {wrong[0]}", place, fix=wrong[1])
        return
    refused = unusable(image, runtime) if runtime else None
    if refused:
        yield finding("image-not-usable", f"{value_text(text)}: {refused[0]}", place, fix=refused[1])
    if not image.file and image.digest is None:
        tag = f"the tag {image.tag}" if image.tag else "no tag, so latest,"
        yield finding(
            "mutable-image-tag",
            f"{value_text(text)} has {tag} and no digest",
            place,
            fix=f'write {quoted(text)[:-1]}@sha256:..." with the digest that the registry shows',
        )


def registries(names: tuple[str, ...], runtime: str) -> Iterator[Diagnostic]:
    """Yields the entries of ``deepep_registries`` that the runtime could never match with an image."""
    for name in names:
        scheme = _SCHEME.match(name)
        bare = name[scheme.end() :] if scheme else name
        host = bare.partition("/")[0]
        if scheme or host != bare or not host.strip():
            what, write = "is not the host of a registry", host.strip() or "registry.example.com"
        elif runtime == "enroot" and re.search(r":\d+$", host):
            what, write = "has a port, and enroot looks credentials up without", host.rpartition(":")[0]
        else:
            continue
        yield finding(
            "credential-not-usable",
            f"deepep_registries: {value_text(name)} {what}",
            None,
            fix=f"write registry: {write}",
        )
