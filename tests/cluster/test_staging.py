"""Images on a cluster of real hosts: one pull, then from host to host; and what happens when that breaks."""

from __future__ import annotations

import hashlib
import io
import json
import random
import signal
import subprocess
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.lab import Lab
from tests.cluster.machine import Host
from tests.cluster.registry import Registry
from tests.image.staging import Staging

pytestmark = pytest.mark.cluster

SIZE = 6 << 20
"""Bytes of each layer; three layers."""
WORK = "/var/tmp/deepep-root"  # noqa: S108 - of the hosts
MEMORY = "/dev/shm"  # noqa: S108 - of the hosts
STAND_IN = "/var/tmp/enroot-stand-in"  # noqa: S108 - of the hosts
ENROOT = Path(__file__).with_name("enroot_stand_in.sh")
LOGIN = [{"registry": Registry.NAME, "username": Registry.USER, "password": Registry.PASSWORD}]


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def archive(path: Path, seed: int, size: int = SIZE) -> Path:
    """Writes a docker archive whose three layers do not compress: what it weighs is what travels."""
    chance = random.Random(seed)  # noqa: S311 - test data
    layers = []
    for number in range(3):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            info = tarfile.TarInfo(f"opt/layer{number}")
            info.size = size
            tar.addfile(info, io.BytesIO(chance.randbytes(size)))
        layers.append(stream.getvalue())
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [sha256(one) for one in layers]},
    }).encode()  # fmt: skip
    files = {f"{number}/layer.tar": layer for number, layer in enumerate(layers)}
    listing = [{"Config": "config.json", "RepoTags": ["team/image:1"], "Layers": list(files)}]
    files.update({"config.json": config, "manifest.json": json.dumps(listing).encode()})
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def registry(lab: Lab) -> Registry:
    assert lab.registry is not None
    return lab.registry


Push = Callable[..., tuple[str, str]]


@pytest.fixture
def push(registry: Registry, tmp_path: Path) -> Push:
    """Pushes a new image; returns its reference and digest."""

    def pushed(seed: int, size: int = SIZE) -> tuple[str, str]:
        name = f"team/staging-{seed}:1"
        return f"{registry.NAME}/{name}", registry.push(archive(tmp_path / f"{seed}.tar", seed, size), name)

    return pushed


Make = Callable[..., Staging]


@pytest.fixture
def make(lab: Lab, tmp_path: Path) -> Iterator[Make]:
    made: list[Staging] = []

    def one(image: str, hosts: list[Host], runtime: str = "podman", **how: Any) -> Staging:
        how = {"ansible_python_interpreter": "/usr/bin/python3", "deepep_registries": LOGIN, **how}
        names: dict[str, dict[str, Any]] = {host.name: {} for host in hosts}
        made.append(Staging(tmp_path / f"play{len(made)}", names, image, runtime, lab=lab, **how))
        return made[-1]

    yield one
    for host in lab.hosts:
        if host.on:
            assert host.of_benchmark() == [], host.name
            assert in_memory(host) == [], host.name


def in_memory(host: Host) -> list[str]:
    """Returns what of ours is left in a host's memory file systems."""
    return [path.name for path in host.root(MEMORY).glob("deepep-*")]


def blobs(registry: Registry, after: int) -> Counter[str]:
    """Returns how often each layer or configuration was asked for."""
    return Counter(one.path for one in registry.requests(after) if one.is_blob)


def stored(host: Host, image: str) -> str:
    """Returns the id of an image in podman on a host."""
    return host.run("podman", "image", "inspect", "--format", "{{.Id}}", image).stdout.strip()


def files(host: Host) -> list[str]:
    """Returns what is in the folder of image files on a host."""
    folder = host.root(f"{WORK}/images")
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def disk(host: Host) -> Path:
    """Returns what a host has written to its disk, and nothing else of its files."""
    return Path(f"/proc/{host.lab.switch_pid}/root") / str(host.folder / "disk").lstrip("/")


def find_text(folder: Path, text: bytes) -> list[str]:
    """Returns the files below a folder that hold a text; what is mounted there (this checkout?) left out."""
    done = subprocess.run(
        ["find", folder, "-xdev", "-type", "f", "-exec", "grep", "-laF", "--", text.decode(), "{}", "+"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.splitlines()


def changed(path: Path) -> float:
    """Returns when it was, 0 for what is gone: other tests' Ansible has its files there, too."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def test_one_pull_for_all_hosts_then_none_and_no_trace_of_the_password(
    lab: Lab, make: Make, push: Push, registry: Registry
) -> None:
    image, digest = push(1)
    staging = make(image, lab.hosts)
    before = registry.position()
    began = time.time()
    assert staging.play("-vvvv") == 2, staging.log  # nothing is run: the session is not passed
    asked = registry.requests(before)
    # Every layer once and the configuration once, by one host; nobody else even asked.
    assert set(blobs(registry, before).values()) == {1}
    assert len(blobs(registry, before)) == 4
    assert len({one.address for one in asked if one.status == 200}) == 1
    notes = staging.notes()
    assert list(notes) == [host.name for host in lab.hosts]
    assert {note["digest"] for note in notes.values()} == {digest}
    (identity,) = {note["id"] for note in notes.values()}
    assert {"sha256:" + stored(host, identity) for host in lab.hosts} == {identity}
    assert all(files(host) == [] for host in lab.hosts)  # not kept
    sources = {event["source"] for event in staging.events("ready") if event["source"].startswith("node")}
    assert sources  # somebody got it from somebody

    # The password: nowhere on a disk of a host, in a log, in Ansible's most verbose output, in the results.
    secret = registry.PASSWORD.encode()
    assert registry.PASSWORD not in staging.log
    assert json.loads((staging.session / "run.json").read_text())["secret_scan"]["hits"] == []
    assert find_text(staging.folder / "results", secret) == []
    lab.hosts[0].root("/var/tmp/planted").write_text("a known text")  # noqa: S108 - of the host
    assert find_text(disk(lab.hosts[0]), b"a known text")
    for host in lab.hosts:
        assert find_text(disk(host), secret) == [], host.name
        for folder in ("/tmp", "/run", "/var/tmp", "/var/lib/containers", MEMORY):  # noqa: S108 - of the host
            assert find_text(host.root(folder), secret) == [], host.name
    home = lab.controller.run("sh", "-c", "echo $HOME").stdout.strip()
    for folder in (Path(home), Path(MEMORY)):
        assert find_text(folder, secret) == []
    recent = [path for path in Path(tempfile.gettempdir()).glob("ansible*") if changed(path) > began]
    assert [found for path in recent for found in find_text(path, secret)] == []

    before = registry.position()
    again = make(image, lab.hosts)
    again.play()
    assert again.notes() == notes
    # No layer; at most the configuration, some hundred bytes, which says the image's id.
    assert len(blobs(registry, before)) <= 1
    assert again.from_registry() < 10_000


def test_fewer_forks_than_hosts_and_a_file_of_the_controllers(lab: Lab, make: Make, tmp_path: Path) -> None:
    path = archive(tmp_path / "local.tar", 2, 1 << 20)
    staging = make(str(path), lab.hosts, forks=2)
    staging.play()
    with tarfile.open(path) as tar:
        config = tar.extractfile("config.json")
        assert config is not None
        digest = sha256(config.read())
    assert {note["digest"] for note in staging.notes().values()} == {digest}, staging.log
    assert list(staging.notes()) == [host.name for host in lab.hosts], staging.log
    assert all(files(host) == [] for host in lab.hosts)


def test_docker_with_kept_files_needs_no_registry_the_second_time(
    lab: Lab, make: Make, push: Push, registry: Registry
) -> None:
    image, digest = push(3)
    hosts = lab.hosts[:2]
    for host in hosts:
        host.start_docker()
    before = registry.position()
    staging = make(image, hosts, "docker", deepep_cache_images_locally=True)
    staging.play("-e", "cleanup=false")
    assert set(blobs(registry, before).values()) == {1}
    notes = staging.notes()
    assert {note["digest"] for note in notes.values()} == {digest}, staging.log
    kept = Path(notes["node1"]["file"])
    assert kept.name.startswith("registry.lab-5000_team_staging-3__1-")
    assert hosts[0].root(kept).stat().st_size == hosts[1].root(kept).stat().st_size > 3 * SIZE
    entry = json.loads(hosts[0].read(next(iter(hosts[0].root(WORK).glob("*/node1/images.json")))
                                     .relative_to(hosts[0].root("/"))))  # fmt: skip
    assert entry == {image: {name: notes["node1"][name] for name in ("runtime", "id", "digest", "file")}}
    hosts[1].run("docker", "image", "rm", "--force", notes["node2"]["id"])
    registry.stop()
    try:
        again = make(image, hosts, "docker", deepep_cache_images_locally=True)
        again.play()
        assert again.notes() == notes, again.log
    finally:
        registry.start()
    # A file that is cut off is no image: it is fetched again from the host that has it.
    hosts[1].run("truncate", "--size=1000", kept)
    hosts[1].run("docker", "image", "rm", "--force", notes["node2"]["id"])
    before = registry.position()
    third = make(image, hosts, "docker", deepep_cache_images_locally=True)
    third.play()
    assert third.notes() == notes, third.log
    assert not blobs(registry, before)
    for host in hosts:
        host.run("rm", "-rf", f"{WORK}/images")
        host.signal("dockerd", signal.SIGKILL)
        host.signal("containerd", signal.SIGKILL)


def test_pulling_by_the_runtime_itself(lab: Lab, make: Make, push: Push, registry: Registry) -> None:
    image, digest = push(4)
    before = registry.position()
    staging = make(image, lab.hosts[:2], deepep_image_pull_with="runtime")
    staging.play()
    assert {note["digest"] for note in staging.notes().values()} == {digest}, staging.log
    assert len({note["id"] for note in staging.notes().values()}) == 1
    # The layers once; the configuration also by our own client before, which asks for the image's size.
    assert sorted(blobs(registry, before).values()) in ([1, 1, 1, 1], [1, 1, 1, 2])


def test_refusals_stop_before_anything_is_started(
    lab: Lab, make: Make, registry: Registry, push: Push
) -> None:
    image, _ = push(5, 100_000)
    wrong = [{**LOGIN[0], "password": "wr0ng-password"}]
    staging = make(image, lab.hosts[:2], deepep_registries=wrong)
    assert staging.play() == 2
    assert staging.skipped().startswith(
        f"{registry.NAME} does not accept the password or token of user bench (from deepep_registries)"
    )
    assert "wr0ng-password" not in staging.log
    verdict = json.loads((staging.session / "Tests.1/0/verdict.json").read_text())
    assert verdict["verdict"] == "NOT_RUN"
    assert registry.NAME in json.dumps(verdict)
    assert staging.notes() == {}

    staging = make(image, lab.hosts[:1], deepep_registries=[])
    staging.play()
    assert "there are no credentials for it: add registry.lab:5000 to deepep_registries" in staging.skipped()

    # From the environment instead, and off with pipelining: the secret must not travel then.
    name = "DEEPEP_REGISTRY_REGISTRY_LAB_5000"
    given = {f"{name}_USERNAME": registry.USER, f"{name}_PASSWORD": registry.PASSWORD}
    staging.play(env={**given, "ANSIBLE_PIPELINING": "False"})
    assert "pipelining is of" in staging.skipped(), staging.log
    staging.play(env=given)
    assert list(staging.notes()) == ["node1"], staging.log

    registry.stop()
    try:
        staging = make(f"{registry.NAME}/team/other:1", lab.hosts[:1])
        staging.play()
        assert "registry registry.lab:5000 cannot be reached: Connection refused" in staging.skipped()
    finally:
        registry.start()


def test_a_host_that_alone_does_not_trust_the_registry_gets_the_image_from_others(
    lab: Lab, make: Make, push: Push, registry: Registry
) -> None:
    image, digest = push(16, 100_000)
    first, others = lab.hosts[0], lab.hosts[1:3]
    for path in registry.files_of_hosts():
        first.root(path).unlink()
    # One at a time, so that this host is the first to ask.
    staging = make(image, [first, *others], forks=1)
    staging.play()
    assert {note["digest"] for note in staging.notes().values()} == {digest}, staging.log
    assert len(staging.notes()) == 3
    assert [event["host"] for event in staging.events("lost")] == [first.name]
    # Two such hosts speak for all.
    for path in registry.files_of_hosts():
        others[0].root(path).unlink()
    staging = make(push(17, 100_000)[0], [first, others[0]])
    staging.play()
    assert "the certificate of registry.lab:5000 is not trusted here" in staging.skipped(), staging.log
    assert "(so say " in staging.skipped()
    for path, text in registry.files_of_hosts().items():
        first.root(path).write_text(text)
        others[0].root(path).write_text(text)


def test_a_full_disk_is_noticed_before_the_transfer(lab: Lab, make: Make, push: Push) -> None:
    image, digest = push(6)
    full = lab.hosts[1]
    full.fill_disk(leave_bytes=30 << 20)
    staging = make(image, lab.hosts[:3], deepep_image_cache_dir="/root/images")
    staging.play()
    assert staging.skipped().startswith(f"host node2 does not have {image}: the disk has")
    assert "set deepep_image_cache_dir or deepep_work_dir to another disk" in staging.skipped()
    # The others were not disturbed, and nothing was transferred to the full one.
    assert {name: note["digest"] for name, note in staging.notes().items()} == {
        "node1": digest,
        "node3": digest,
    }
    full.empty_disk()
    assert not list(full.root("/root/images").glob("*.part"))


def test_hosts_that_cannot_reach_each_other_get_it_through_the_controller(
    lab: Lab, make: Make, push: Push, registry: Registry
) -> None:
    image, digest = push(7)
    first, second, third = lab.hosts[:3]
    before = registry.position()
    with first.no_way_to(second, third), second.no_way_to(first, third), third.no_way_to(first, second):
        staging = make(image, [first, second, third])
        staging.play()
    assert {note["digest"] for note in staging.notes().values()} == {digest}, staging.log
    assert len(staging.notes()) == 3
    assert set(blobs(registry, before).values()) == {1}
    assert staging.events("relay")
    assert not list((staging.session / ".state/images").rglob("*.file"))


@pytest.mark.parametrize("become", [pytest.param(False, marks=pytest.mark.slow), True])
def test_hosts_without_a_way_out(lab: Lab, make: Make, push: Push, registry: Registry, become: bool) -> None:
    image, digest = push(8 + become)
    first, second = lab.hosts[:2]
    before = registry.position()
    user = {"ansible_user": "ops", "ansible_become": True} if become else {}
    # The controller pulls, so it is the controller that must trust the registry: here for this user alone.
    trusted_by_the_controller(lab, registry)
    with first.no_way_to(registry), second.no_way_to(registry):
        staging = make(image, [first, second], deepep_image_pull_from="controller", **user)
        staging.play()
    assert {note["digest"] for note in staging.notes().values()} == {digest}, staging.log
    assert {one.address for one in registry.requests(before)} == {lab.controller.address}
    assert set(blobs(registry, before).values()) == {1}


@pytest.mark.slow
def test_a_puller_that_loses_power_is_replaced(lab: Lab, make: Make, push: Push, registry: Registry) -> None:
    image, digest = push(10, 12 << 20)
    hosts = lab.hosts[:3]
    registry.disturb(delay_ms=40)
    staging = make(image, hosts)
    process = staging.start("-e", "cleanup=false")
    try:
        limit = time.monotonic() + 300
        puller = None
        while puller is None and time.monotonic() < limit:
            time.sleep(0.2)
            found = staging.events("pulling") if (staging.folder / "results").exists() else []
            puller = next((host for host in hosts if found and host.name == found[0]["host"]), None)
        assert puller is not None
        puller.power_off()
        registry.clear_link()
    finally:
        staging.finish(process)
    others = [host.name for host in hosts if host is not puller]
    assert {name: note["digest"] for name, note in staging.notes().items()} == dict.fromkeys(others, digest)
    assert f"host {puller.name}" in staging.skipped()
    for host in hosts:
        if host is not puller:
            make(image, [host]).play()  # cleans up


def test_two_sessions_at_once_do_not_disturb_each_other(
    lab: Lab, make: Make, push: Push, registry: Registry
) -> None:
    image, digest = push(11, 1 << 20)
    before = registry.position()
    both = [make(image, lab.hosts[:2]), make(image, list(reversed(lab.hosts[:2])))]
    processes = [one.start() for one in both]
    for one, process in zip(both, processes, strict=True):
        one.finish(process)
    for one in both:
        assert {name: note["digest"] for name, note in one.notes().items()} == {
            host.name: digest for host in lab.hosts[:2]
        }, one.skipped() + one.log
    assert max(blobs(registry, before).values()) <= 2  # a session asks once
    assert [files(host) for host in lab.hosts[:2]] == [[], []]


# ---- enroot, by a recorded stand-in ----


@pytest.fixture
def enroot(lab: Lab) -> None:
    """The stand-in for enroot; it stands in for the programs that enroot import needs, too."""
    for host in lab.hosts:
        put_stand_in(host.root("/usr/local/bin"), ENROOT.read_text())
        host.run("rm", "-rf", STAND_IN)


def put_stand_in(folder: Path, text: str) -> None:
    """Puts the stand-in into a folder of programs."""
    for name in ("enroot", "parallel", "mksquashfs"):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def recorded(notes: Path) -> dict[str, str]:
    """Returns what the stand-in noted of its last call."""
    return dict(line.split(": ", 1) for line in (notes / "last").read_text().splitlines())


def trusted_by_the_controller(lab: Lab, registry: Registry) -> Path:
    """Has this user trust the registry, as container runtimes read it; returns the certificate."""
    home = Path(lab.controller.run("sh", "-c", "echo $HOME").stdout.strip())
    trusted = home / f".config/containers/certs.d/{registry.NAME}"
    trusted.mkdir(parents=True, exist_ok=True)
    (trusted / "ca.crt").write_bytes(registry.certificate.read_bytes())
    return trusted / "ca.crt"


def test_the_controllers_enroot_imports_for_hosts_without_a_way_out(
    lab: Lab, make: Make, push: Push, registry: Registry, enroot: None, tmp_path: Path
) -> None:
    image, digest = push(14, 100_000)
    certificate = trusted_by_the_controller(lab, registry)
    before = registry.position()
    first, second = lab.hosts[:2]
    with first.no_way_to(registry), second.no_way_to(registry):
        without = make(image, [first, second], "enroot", deepep_image_pull_from="controller")
        without.play()
        assert "the controller cannot pull an image for enroot: enroot is not installed" in without.skipped()
        # The controller is this machine: the stand-in is put where nobody else finds it.
        text = ENROOT.read_text().replace(STAND_IN, str(tmp_path / "note"))
        text = text.replace("/etc/containers/certs.d", str(certificate.parents[1]))
        programs = tmp_path / "bin"
        programs.mkdir()
        put_stand_in(programs, text)
        path = lab.controller.run("sh", "-c", "echo $PATH").stdout.strip()
        staging = make(image, [first, second], "enroot", deepep_image_pull_from="controller")
        staging.play(env={"PATH": f"{programs}:{path}"})
    notes = staging.notes()
    assert {note["digest"] for note in notes.values()} == {digest}, staging.log
    sums = {host.run("sha256sum", notes[host.name]["file"]).stdout.split()[0] for host in (first, second)}
    assert len(sums) == 1
    assert {one.address for one in registry.requests(before)} == {lab.controller.address}
    assert not first.exists(f"{STAND_IN}/imports")
    call = recorded(tmp_path / "note")
    assert call["memory"] == "tmpfs 700 600"
    assert not list((staging.session / ".state/images").rglob("*.file*"))


def test_enroot_imports_once_and_the_file_goes_from_host_to_host(
    lab: Lab, make: Make, push: Push, enroot: None
) -> None:
    image, digest = push(12, 100_000)
    staging = make(image, lab.hosts[:2], "enroot")
    staging.play()
    notes = staging.notes()
    assert {note["digest"] for note in notes.values()} == {digest}, staging.log
    importers = [host for host in lab.hosts[:2] if host.exists(f"{STAND_IN}/imports")]
    assert len(importers) == 1
    call = recorded(importers[0].root(STAND_IN))
    assert call["argv"].endswith("-- docker://registry.lab:5000#team/staging-12:1")
    assert call["stdin"] == "/dev/null"
    assert call["memory"] == "tmpfs 700 600"
    assert call["tokens"] == "tmpfs"
    assert call["machines"] == "registry.lab bench;"
    sums = {host.run("sha256sum", notes[host.name]["file"]).stdout.split()[0] for host in lab.hosts[:2]}
    assert len(sums) == 1
    assert {note["id"] for note in notes.values()} == {notes["node1"]["file"]}
    for host in lab.hosts:
        host.run("rm", "-rf", f"{WORK}/images")


@pytest.mark.slow
def test_an_image_file_that_is_there_is_taken_as_it_is(
    lab: Lab, make: Make, push: Push, enroot: None
) -> None:
    image, digest = push(15, 100_000)
    staging = make(image, lab.hosts[:3], "enroot")
    staging.play()
    notes = staging.notes()
    assert {note["digest"] for note in notes.values()} == {digest}, staging.log
    (importer,) = [host for host in lab.hosts[:3] if host.exists(f"{STAND_IN}/imports")]
    again = make(image, lab.hosts[:3], "enroot")
    again.play()
    assert again.notes() == notes
    assert importer.read(f"{STAND_IN}/imports").count("\n") == 1
    # The file of one host as a reference by itself, for all.
    sums = {host.run("sha256sum", notes[host.name]["file"]).stdout.split()[0] for host in lab.hosts[:3]}
    third = make(notes["node1"]["file"], lab.hosts[:2], "enroot")
    third.play()
    (found,) = sums
    assert {note["digest"] for note in third.notes().values()} == {f"sha256:{found}"}, third.log
    for host in lab.hosts:
        host.run("rm", "-rf", f"{WORK}/images")


def test_what_a_killed_run_leaves_in_memory_is_removed_by_the_next(
    lab: Lab, make: Make, push: Push, registry: Registry, enroot: None
) -> None:
    image, digest = push(13, 100_000)
    host = lab.hosts[0]
    host.run("mkdir", "-p", STAND_IN)
    host.run("touch", f"{STAND_IN}/hang")
    staging = make(image, [host], "enroot")
    process = staging.start("-e", "cleanup=false")
    limit = time.monotonic() + 300
    while not in_memory(host) and time.monotonic() < limit:
        time.sleep(0.1)
    lab.controller.vanish()
    for word in ("image_agent.py", "enroot", "sleep 600"):
        host.signal(word, signal.SIGKILL)
    process.wait(120)
    (left,) = in_memory(host)
    assert find_text(host.root(MEMORY), registry.PASSWORD.encode())
    host.run("rm", f"{STAND_IN}/hang")
    again = make(image, [host], "enroot")
    again.play()
    assert {note["digest"] for note in again.notes().values()} == {digest}, again.log
    assert left not in in_memory(host)
    assert not [name for name in files(host) if name.endswith((".part", ".enroot"))]
    host.run("rm", "-rf", f"{WORK}/images")
