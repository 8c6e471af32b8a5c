"""What each runtime is given for each form of an image reference."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compiler.diagnostics.codes import code_of
from compiler.diagnostics.model import Place
from compiler.rules.images import Source, check, parse, problem, source, unusable

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "docker", "enroot"),
    [
        ("ubuntu", "docker.io/library/ubuntu:latest", "docker://ubuntu:latest"),
        ("ubuntu:22.04", "docker.io/library/ubuntu:22.04", "docker://ubuntu:22.04"),
        ("team/deepep:1", "docker.io/team/deepep:1", "docker://team/deepep:1"),
        ("docker.io/ubuntu:1", "docker.io/library/ubuntu:1", "docker://ubuntu:1"),
        ("nvcr.io/nvidia/pytorch:25.06", "nvcr.io/nvidia/pytorch:25.06", "docker://nvcr.io#nvidia/pytorch:25.06"),
        ("nvcr.io#nvidia/pytorch:25.06", "nvcr.io/nvidia/pytorch:25.06", "docker://nvcr.io#nvidia/pytorch:25.06"),
        ("reg:5000/a/b/c:t", "reg:5000/a/b/c:t", "docker://reg:5000#a/b/c:t"),
        ("localhost/a:t", "localhost/a:t", "docker://localhost#a:t"),
        (f"r.io/a@{DIGEST}", f"r.io/a@{DIGEST}", f"docker://r.io#a@{DIGEST}"),
        (f"r.io#a/b:tag@{DIGEST}", f"r.io/a/b@{DIGEST}", f"docker://r.io#a/b@{DIGEST}"),
        (
            "gitlab-master.nvidia.com/ybenabou/warehouse/deepep:dp-benchmark",
            "gitlab-master.nvidia.com/ybenabou/warehouse/deepep:dp-benchmark",
            "docker://gitlab-master.nvidia.com#ybenabou/warehouse/deepep:dp-benchmark",
        ),
    ],
)  # fmt: skip
def test_a_reference_is_completed_in_each_runtimes_form(text: str, docker: str, enroot: str) -> None:
    registry = docker.partition("/")[0]
    assert problem(parse(text)) is None
    assert source(text, "docker") == Source("registry", docker, registry)
    assert source(text, "podman") == Source("registry", docker, registry)
    asked = "registry-1.docker.io" if registry == "docker.io" else registry
    assert source(text, "enroot") == Source("registry", enroot, asked)


@pytest.mark.parametrize(
    ("text", "enroot"),
    [
        ("docker://r.io/a:t", Source("registry", "docker://r.io#a:t", "r.io")),
        ("docker://ci@r.io:5000#a/b:t", Source("registry", "docker://ci@r.io:5000#a/b:t", "r.io:5000")),
        ("dockerd://deepep:1", Source("daemon", "dockerd://deepep:1", None)),
        ("podman://localhost/deepep:1", Source("daemon", "podman://localhost/deepep:1", None)),
    ],
)
def test_a_scheme_is_for_enroot_alone(text: str, enroot: Source) -> None:
    assert source(text, "enroot") == enroot
    assert unusable(parse(text), "enroot") is None
    assert unusable(parse(text), "docker") is not None


@pytest.mark.parametrize("path", ["/images/a.sqsh", "/images/a b.squashfs", "/images/without-extension"])
def test_a_squashfs_file_is_for_enroot_alone(path: str) -> None:
    assert source(path, "enroot") == Source("squashfs", path, None)
    assert unusable(parse(path), "enroot") is None
    assert unusable(parse(path), "podman") is not None


@pytest.mark.parametrize("path", ["/images/a.tar", "/images/a.tar.gz", "/images/a.tgz", "/images/a.tar.zst"])
def test_a_docker_archive_is_for_docker_and_podman(path: str) -> None:
    assert source(path, "docker") == Source("archive", path, None)
    assert unusable(parse(path), "podman") is None
    assert unusable(parse(path), "enroot") is not None


@pytest.mark.parametrize(
    "text",
    [
        "docker://$oauthtoken@nvcr.io#nvidia/pytorch:25.06",
        "$oauthtoken@nvcr.io#nvidia/pytorch:25.06",
        "docker://ci@reg:5000/a/b:t",
        "dockerd://deepep:1",
        "docker://r.io/a:t",
    ],
)
@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_the_way_out_is_one(text: str, runtime: str) -> None:
    image = parse(text)
    assert not image.file
    assert problem(image) is None
    assert unusable(image, "enroot") is None
    found = unusable(image, runtime)
    assert found is not None
    (advised,) = re.findall(r'"([^"]+)"|\'([^\']+)\'', found[1])
    better = parse(next(filter(None, advised)))
    assert (problem(better), unusable(better, runtime)) == (None, None)
    assert (better.registry, better.path, better.user) == (image.registry, image.path, None)


def test_a_transport_of_other_tools_is_no_registry() -> None:
    for text in ("oci:/x", "dir:/images/x", "reg:port/a:1"):
        found = problem(parse(text))
        assert found is not None
        assert "is no host of a registry" in found[0]
    assert problem(parse("[fe80::1]:5000/a:1")) is None


def test_what_no_registry_has_is_not_advised_a_digest() -> None:
    def codes(text: str) -> list[str]:
        return [found.code for found in check(text, "enroot", Place(Path("t.toml")))]

    assert codes("dockerd://deepep:1") == []
    assert codes("r.io/deepep:1") == [code_of("mutable-image-tag").code]


@pytest.mark.parametrize("path", ["a.sqsh", "./a.tar", "~/a.sqsh", "$HOME/a.sqsh"])
def test_a_file_is_named_by_its_absolute_path(path: str) -> None:
    found = problem(parse(path))
    assert found is not None
    assert "absolute path" in found[1]
