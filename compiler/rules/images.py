"""Image references: readable, pinned, and usable by the container runtime; and the credentials for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic, Place
from compiler.diagnostics.wording import quoted, value_text
from compiler.resources import host_code

host_code()

from deepep_host.reference import ARCHIVE, HUB_NAMES, Image, parse, plain_text, registry_name  # noqa: E402

__all__ = ["Image", "Source", "check", "parse", "plain_text", "problem", "registries", "source", "unusable"]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_REGISTRY = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_DAEMONS = ("dockerd", "podman")


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
    if image.registry is not None and not _REGISTRY.fullmatch(image.registry):
        return (
            f"{value_text(image.registry)} is no host of a registry",
            "write registry/organisation/image:tag, or a file's absolute path on the hosts (.tar, .sqsh)",
        )
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
        return (
            f"{runtime} takes no user in a reference ({value_text(image.user)})",
            f"write {value_text(plain_text(image))}; users stand in deepep_registries",
        )
    if image.scheme is not None:
        return (
            f"{runtime} takes a reference without {image.scheme}://",
            f"write {value_text(plain_text(image))}",
        )
    return None


def _unusable_file(image: Image, runtime: str) -> tuple[str, str] | None:
    archive = image.path.endswith(ARCHIVE)
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
        return Source("archive" if image.path.endswith(ARCHIVE) else "squashfs", image.path, None)
    version = f"@{image.digest}" if image.digest else f":{image.tag or 'latest'}"
    if image.scheme in _DAEMONS:
        return Source("daemon", f"{image.scheme}://{plain_text(image)}", None)
    hub = image.registry is None or image.registry in HUB_NAMES
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
    # What the host's own docker or podman holds has no registry that could tell a digest.
    if not image.file and not image.local_store and image.digest is None:
        tag = f"the tag {image.tag}" if image.tag else "no tag, so latest,"
        yield finding(
            "mutable-image-tag",
            f"{value_text(text)} has {tag} and no digest",
            place,
            fix=f'write {quoted(text)[:-1]}@sha256:..." with the digest that the registry shows',
        )


def registries(names: tuple[str, ...]) -> Iterator[Diagnostic]:
    """Yields the entries of ``deepep_registries`` that no image could ever match.

    Case and ``https://`` do not matter, a path narrows it down to repositories, and each runtime is given the
    name in its own form.
    """
    for name in names:
        host = registry_name(name)
        if _REGISTRY.fullmatch(host):
            continue
        yield finding(
            "credential-not-usable",
            f"deepep_registries: {value_text(name)} is not the host of a registry",
            None,
            fix="write registry: with its host name, and the port where it has one",
        )
