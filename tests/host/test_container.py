"""Command lines of containers, without a runtime: what a host with GPUs and NICs would be given."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import pytest

from compiler.resources import host_code
from tests.host.conftest import OneHost

host_code()

from deepep_host import container, engine  # noqa: E402
from deepep_host.container_defaults import DEFAULTS, NAMES, WHENS, devices  # noqa: E402
from deepep_host.container_errors import explain  # noqa: E402
from deepep_host.files import write_json  # noqa: E402
from deepep_host.launch import LaunchError  # noqa: E402

IMAGE = "registry.example.com#team/deepep:1"
PLAN = {"run_id": "20260101_000000-abcdef", "host": "node1"}
MARKS = {"DEEPEP_RUN_ID": "20260101_000000-abcdef", "DEEPEP_RUN": "T/0"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of a host with GPUs, NICs and GDRCopy, as far as it is looked at."""
    (tmp_path / "root/dev/infiniband").mkdir(parents=True)
    for name in ("nvidiactl", "gdrdrv", "infiniband/uverbs0"):
        (tmp_path / "root/dev" / name).touch()
    return tmp_path / "root"


def described(
    folder: Path, root: Path, runtime: str, changes: dict[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    """Returns launch.json's part ``container`` of a run."""
    base = folder / "work/s/node1"
    image = {
        "runtime": runtime,
        "id": "/images/a.sqsh" if runtime == "enroot" else "sha256:1",
        "digest": "sha256:2",
    }
    write_json(base / "images.json", {IMAGE: image})
    wanted = {"privileged": True, "entrypoint": False, "without": [], "options": [], **(changes or {})}
    run = {
        "id": "T/0", "container_runtime": runtime, "image": IMAGE, "container": wanted, "mounts": [],
        "env": {}, "program": "bundled", **spec,
    }  # fmt: skip
    return container.describe(
        PLAN,
        run,
        base,
        base / "runs/T/0",
        folder / "work",
        "python3",
        "",
        {"run_dir": "/r"},
        MARKS,
        str(root),
    )


def between(words: list[str], first: str, last: str) -> list[str]:
    """Returns the words from one to another."""
    return words[words.index(first) : words.index(last) + 1]


def test_docker_gets_all_defaults_once(tmp_path: Path, root: Path) -> None:
    create = described(tmp_path, root, "docker")["create"]
    assert create[:2] == ["docker", "create"]
    assert create[2].startswith("--name=deepep-20260101_000000-abcdef-")
    assert between(create, "--network=host", "--privileged") == [
        "--network=host",
        "--ipc=host",
        "--uts=host",
        "--security-opt=label=disable",
        "--pids-limit=-1",
        "--ulimit=memlock=-1:-1",
        "--ulimit=stack=67108864:67108864",
        "--ulimit=nofile=1048576:1048576",
        "--oom-score-adj=500",
        "--gpus=all",
        "--privileged",
    ]
    assert "--pull=never" in create
    assert create[-3] == "sha256:1"
    assert create[-2].endswith("/program/enter.py")
    assert not [word for word in create if "/dev/" in word]


def test_without_privileges_rights_and_devices_are_granted_one_by_one(tmp_path: Path, root: Path) -> None:
    found = described(
        tmp_path, root, "podman", {"privileged": False, "options": ["--memory=1g", "--ipc=private"]}
    )
    create = found["create"]
    assert "--privileged" not in create
    assert "--device=nvidia.com/gpu=all" in create
    assert between(create, "--cap-add=IPC_LOCK", "--device=/dev/gdrdrv") == [
        "--cap-add=IPC_LOCK",
        "--cap-add=SYS_NICE",
        "--cap-add=SYS_RESOURCE",
        "--cap-add=SYS_PTRACE",
        "--device=/dev/infiniband",
        "--volume=/sys/class/infiniband:/sys/class/infiniband:ro",
        "--device=/dev/gdrdrv",
    ]
    # The user's come last, and so win.
    assert create[-5:-3] == ["--memory=1g", "--ipc=private"]


def test_a_host_without_devices_is_not_asked_for_them(tmp_path: Path) -> None:
    create = described(tmp_path, tmp_path / "bare", "docker", {"privileged": False})["create"]
    assert not [word for word in create if "gpu" in word or "/dev/" in word or "infiniband" in word]
    assert devices(str(tmp_path / "bare")) == frozenset()


@pytest.mark.parametrize("name", NAMES)
def test_every_default_can_be_left_out(tmp_path: Path, root: Path, name: str) -> None:
    rows = [row for row in DEFAULTS if row.name == name]
    assert all(part in WHENS for row in rows for part in row.when.split("+"))
    for runtime in ("docker", "podman", "enroot"):
        whole = described(tmp_path, root, runtime)
        less = described(tmp_path, root, runtime, {"without": [name]})
        options = [option for row in rows for option in getattr(row, runtime)]
        left = less.get("create") or less["start"]
        assert not set(options) & set(left)
        if name == "jit_cache":
            assert whole["directories"]
            assert less["directories"] == []


def test_enroot_gets_devices_by_mounts_and_gpus_by_its_hook(tmp_path: Path, root: Path) -> None:
    found = described(tmp_path, root, "enroot", env={"NVIDIA_VISIBLE_DEVICES": "0,1", "SECRET": "x"})
    start = found["start"]
    assert "--mount=/dev/infiniband:/dev/infiniband:none:x-create=dir,rbind,rw" in start
    assert "--mount=/dev/gdrdrv:/dev/gdrdrv:none:x-create=file,bind,rw" in start
    assert found["client_env"]["NVIDIA_VISIBLE_DEVICES"] == "0,1"
    assert found["client_env"]["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert "SECRET" not in found["client_env"]
    assert found["unpack"]["image"] == "/images/a.sqsh"
    assert [word for word in start if word.startswith("--rc=")]
    through = described(tmp_path, root, "enroot", {"entrypoint": True})["start"]
    assert not [word for word in through if word.startswith("--rc=")]


def test_mounts_keep_odd_paths(tmp_path: Path, root: Path) -> None:
    odd = tmp_path / 'a,b "c":d'
    odd.mkdir()
    create = described(tmp_path, root, "docker", mounts=[f"{odd}:/data:ro"])["create"]
    quoted = str(odd).replace('"', '""')
    assert f'--mount=type=bind,"source={quoted}",target=/data,readonly' in create
    with pytest.raises(LaunchError, match="enroot cannot mount"):
        described(tmp_path, root, "enroot", mounts=[f"{odd}:/data"])
    for wrong in ("relative:/data", "/data", f"{tmp_path}:data"):
        with pytest.raises(LaunchError, match="is no mount"):
            container.parse_mount(wrong)
    with pytest.raises(LaunchError, match="/nonexistent does not exist on this host"):
        container.parse_mount("/nonexistent:/data")


def test_only_what_hooks_read_is_in_the_clients_environment(tmp_path: Path, root: Path) -> None:
    found = described(
        tmp_path, root, "docker", env={"PATH": "/evil", "LD_PRELOAD": "x", "NVIDIA_VISIBLE_DEVICES": "0"}
    )
    assert found["client_env"] == {"NVIDIA_VISIBLE_DEVICES": "0", **MARKS}
    assert "--env=NVIDIA_VISIBLE_DEVICES" in found["create"]


def test_the_containers_user_is_the_runs(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--user=0:0" in described(tmp_path, root, "podman")["create"]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getgid", lambda: 100)
    monkeypatch.setattr(os, "getgroups", lambda: [100, 44])
    monkeypatch.setattr(engine, "is_rootless_docker", lambda: False)
    create = described(tmp_path, root, "docker")["create"]
    assert between(create, "--userns=host", "--group-add=44") == [
        "--userns=host",
        "--user=1000:100",
        "--group-add=44",
    ]
    monkeypatch.setattr(engine, "is_rootless_docker", lambda: True)
    assert "--user=0:0" in described(tmp_path, root, "docker")["create"]


def test_podman_asks_for_no_limit_that_it_may_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "_may_raise_limits", lambda: False)
    monkeypatch.setattr(resource, "getrlimit", lambda number: (1024, 4096))
    assert container.within_limits("--ulimit=memlock=-1:-1") == "--ulimit=memlock=4096:4096"
    assert container.within_limits("--ulimit=stack=2048:2048") == "--ulimit=stack=2048:2048"
    assert container.within_limits("--ipc=host") == "--ipc=host"
    monkeypatch.setattr(container, "_may_raise_limits", lambda: True)
    assert container.within_limits("--ulimit=memlock=-1:-1") == "--ulimit=memlock=-1:-1"


def test_compiled_kernels_are_kept_per_image(tmp_path: Path, root: Path) -> None:
    found = described(tmp_path, root, "docker")
    (folder,) = found["directories"]
    assert found["defaults_env"] == {"EP_JIT_CACHE_DIR": folder}
    assert folder.startswith(f"{tmp_path}/work/jit/")
    assert f"--mount=type=bind,source={folder},target={folder}" in found["create"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            'Error response from daemon: OCI: exec: "python3": executable file not found in $PATH',
            "image i has no python3",
        ),
        (
            "Error: crun: executable file `/opt/py` not found: No such file or directory",
            "image i has no python3",
        ),
        ("sh: 1: exec: python3: not found", "image i has no python3"),
        ('could not select device driver "" with capabilities: [[gpu]]', "NVIDIA Container Toolkit"),
        (
            "Error: setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=all",
            "nvidia-ctk cdi generate",
        ),
        ("permission denied while trying to connect to the Docker daemon socket", "group docker"),
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", "start docker"),
        ("Error: sha256:1: image not known", "has gone from this host"),
        ("exec /usr/bin/python3: exec format error", "another CPU architecture"),
        ("something new\nand its last line", "and its last line"),
        ("", "gave no reason"),
    ],
)
def test_what_clients_say_is_explained(said: str, told: str) -> None:
    assert told in explain(said, "i", "python3")


def test_a_runtime_that_is_not_installed_is_named(host: OneHost, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"privileged": True, "entrypoint": False, "without": [], "options": []}
    host.stage(run={"container_runtime": "docker", "image": IMAGE, "container": wanted})
    write_json(
        host.base / "images.json", {IMAGE: {"runtime": "docker", "id": "sha256:1", "digest": "sha256:2"}}
    )
    monkeypatch.setenv("PATH", str(host.base))
    host.start("run")
    state = host.wait("run")
    assert (state["outcome"], state["leftovers"]) == ("start_failed", [])
    assert state["cause"] == "docker is not installed on this host, or not in the search path"
    assert not (host.folder("run") / "alive").exists()


def test_an_image_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="was not staged on this host"):
        container.staged_image(tmp_path, IMAGE, "docker")
