"""What staging an image costs beside plain pulls: bytes from the registry, and seconds on the test bed.

``python -m tests.benchmark.staging [HOSTS] [MB]``. Hosts, registry and controller share this machine's
processors, so seconds compare within a table and say little about a real network; bytes are what they are.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from tests.cluster.lab import Lab, why_not
from tests.cluster.machine import Host
from tests.cluster.registry import Registry
from tests.cluster.test_staging import LOGIN, archive
from tests.image.staging import Staging

HOSTS = 8
MEGABYTES = 96
FAR_MS = 10.0
"""Delay of the registry's line each way in the second table; its relay also limits the bandwidth."""


def main(arguments: Sequence[str]) -> int:
    """Prints one table for a registry nearby and one for a registry far away."""
    reason = why_not()
    if reason:
        print(f"staging is not measured: {reason}")
        return 0
    hosts = int(arguments[0]) if arguments else HOSTS
    size = int(arguments[1]) * 1_000_000 if len(arguments) > 1 else MEGABYTES * 1_000_000
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, podman, "
        f"{hosts} hosts"
    )
    with tempfile.TemporaryDirectory() as folder, Lab(hosts, registry=True) as lab:
        assert lab.registry is not None
        for seed, far in enumerate((False, True)):
            _table(lab, lab.registry, Path(folder), seed, size, far)
    return 0


def _table(lab: Lab, registry: Registry, folder: Path, seed: int, size: int, far: bool) -> None:
    name = f"team/bench-{seed}:1"
    registry.push(archive(folder / f"{seed}.tar", seed, size // 3), name)
    image = f"{registry.NAME}/{name}"
    if far:
        registry.disturb(delay_ms=FAR_MS)
    where = f"{FAR_MS:.0f} ms away" if far else "nearby"
    print(f"\nimage of {size / 1e6:.0f} MB, registry {where}")
    print(f"{'':44}{'seconds':>9}{'MB from registry':>18}")
    authfile = registry.login.read_text()
    for host in lab.hosts:
        host.root("/root/login.json").write_text(authfile)
    _row(registry, "plain podman pull on every host at once", lambda: _pull_everywhere(lab.hosts, image))
    _row(registry, "plain podman pull on one host", lambda: _fresh_pull(lab.hosts[:1], image))
    _forget(lab.hosts, image)
    variables = {"ansible_python_interpreter": "/usr/bin/python3", "deepep_registries": LOGIN}
    hosts = {host.name: {} for host in lab.hosts}
    staging = Staging(folder / f"play-{seed}", hosts, image, "podman", lab=lab, **variables)
    for text in ("staged", "staged again"):
        _row(registry, f"{text}, the whole playbook", lambda: _played(staging))
        print(f"{'  of which for the image':44}{_seconds(staging):9.1f}")
    registry.clear_link()


def _row(registry: Registry, text: str, work: Callable[[], None]) -> None:
    before = registry.position()
    begun = time.monotonic()
    work()
    took = time.monotonic() - begun
    count = sum(one.bytes for one in registry.requests(before) if one.method == "GET" and one.status < 300)
    print(f"{text:44}{took:9.1f}{count / 1e6:18.2f}", flush=True)


def _pull_everywhere(hosts: Sequence[Host], image: str) -> None:
    with ThreadPoolExecutor(len(hosts)) as pool:
        for job in [pool.submit(_pull, host, image) for host in hosts]:
            job.result()


def _fresh_pull(hosts: Sequence[Host], image: str) -> None:
    _forget(hosts, image)
    _pull_everywhere(hosts, image)


def _pull(host: Host, image: str) -> None:
    host.run("podman", "pull", "--quiet", "--authfile", "/root/login.json", image, timeout=900)


def _forget(hosts: Sequence[Host], image: str) -> None:
    for host in hosts:
        host.run("podman", "image", "rm", "--force", "--all", check=False)


def _played(staging: Staging) -> None:
    staging.play("-e", "cleanup=true", timeout=1800)
    if len(staging.notes()) != len(staging.play_hosts):
        raise SystemExit(f"staging failed:\n{staging.log}")


def _seconds(staging: Staging) -> float:
    """Returns the time from the first word about the image to the last host that has it."""
    times = [datetime.fromisoformat(event["t"].replace("Z", "+00:00")) for event in staging.events()]
    return (max(times) - min(times)).total_seconds()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
