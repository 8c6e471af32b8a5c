"""The container runtime: there, usable by this user, with GPUs and room."""

from __future__ import annotations

from typing import Any

from ..machine import Machine, Wanted
from ..model import Outcome, fail, ok, unknown, warn

_TOOLKIT = "install nvidia-container-toolkit, then: nvidia-ctk"
_SPECS = ("/etc/cdi", "/var/run/cdi", "/run/cdi")


def runtime(machine: Machine, wanted: Wanted) -> Outcome:
    """Whether it answers, for this user."""
    outcomes = [_runtime(machine, wanted, name) for name in wanted.runtimes]
    if not outcomes:
        return ok("no run here uses a container")
    worst = sorted(outcomes, key=lambda one: ("fail", "unknown", "warn", "pass").index(one.result))[0]
    texts = "; ".join(one.text for one in outcomes)
    return Outcome(worst.result, texts, worst.remedy)


def _runtime(machine: Machine, wanted: Wanted, name: str) -> Outcome:
    info, said = machine.runtime(name)
    if said.missing:
        return fail(
            f"{name} is not installed", f"install {name}, or set deepep_container_runtime to another one"
        )
    if said.code is None:
        return fail(f"{name} gives {said.error}", f"look why {name} hangs: systemctl status {name}")
    if said.code != 0:
        line = next(iter((said.error or said.out).strip().splitlines()), f"exit code {said.code}")
        return fail(f"{name} cannot be used: {line}", _help(name, line))
    if name == "enroot":
        return ok(f"enroot {said.out.strip()}")
    if info is None:
        return unknown(f"{name} info answers in a form that is not known")
    return _docker(machine, wanted, info) if name == "docker" else _podman(machine, wanted, info)


def _help(name: str, line: str) -> str:
    if name == "docker" and "permission denied" in line.lower():
        return "add the user to the group docker, or use become"
    if name == "docker":
        return "start it: systemctl start docker"
    return f"run `{name} info` on the host by hand"


def _docker(machine: Machine, wanted: Wanted, info: dict[str, Any]) -> Outcome:
    errors = info.get("ServerErrors")
    if errors:
        return fail(f"docker's daemon does not answer: {errors[0]}", _help("docker", str(errors[0])))
    rootless = "docker" in machine.rootless
    text = f"docker {info.get('ServerVersion')}, {info.get('Driver')}"
    text += ", rootless" if rootless else ""
    runtimes = info.get("Runtimes") or {}
    if "gpu" in wanted.needs and "nvidia" not in runtimes and not _gpu_specs(machine):
        return fail(
            f"{text}: it cannot give GPUs to containers", f"{_TOOLKIT} runtime configure --runtime=docker"
        )
    if rootless and "rdma" in wanted.needs:
        return warn(f"{text}: RDMA in a rootless container needs an unlimited hard limit of locked memory")
    return ok(text)


def _podman(machine: Machine, wanted: Wanted, info: dict[str, Any]) -> Outcome:
    store = info.get("store") or {}
    rootless = "podman" in machine.rootless
    driver = store.get("graphDriverName")
    version = (info.get("version") or {}).get("Version")
    text = f"podman {version}, {driver}, {'rootless' if rootless else 'as root'}"
    if "gpu" in wanted.needs and not _gpu_specs(machine):
        return fail(
            f"{text}: no CDI specification names GPUs",
            f"{_TOOLKIT} cdi generate --output={_SPECS[0]}/nvidia.yaml",
        )
    if driver == "vfs":
        return warn(
            f"{text}: vfs copies every layer of an image", "use overlay (fuse-overlayfs for rootless podman)"
        )
    return ok(text)


def _gpu_specs(machine: Machine) -> bool:
    return any("nvidia" in name for folder in _SPECS for name in machine.probe.names(folder))


def image_space(machine: Machine, wanted: Wanted) -> Outcome:
    """Room for the image, where the runtime keeps its images or where image files are kept."""
    if not wanted.runtimes:
        return ok("no run here uses a container")
    texts = []
    for name in wanted.runtimes:
        path = _storage(machine, wanted, name)
        free = machine.probe.free_mib(path) if path else None
        if free is None:
            return unknown(f"where {name} keeps its images is not known")
        if free < wanted.image_free_mib:
            return fail(f"{path} has {free} MiB free, {wanted.image_free_mib} MiB are wanted for images")
        texts.append(f"{path}, {free} MiB free")
    return ok("; ".join(texts))


def _storage(machine: Machine, wanted: Wanted, name: str) -> str | None:
    if name == "enroot":
        return wanted.image_dir or wanted.work_dir
    info, _ = machine.runtime(name)
    if not info:
        return None
    found = info.get("DockerRootDir") if name == "docker" else (info.get("store") or {}).get("graphRoot")
    return str(found) if found else None
