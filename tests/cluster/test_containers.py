"""Containers under a supervisor on a host, in real podman and docker: however a run ends, nothing stays."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import enroot_stand_in, images, one_host
from tests.cluster.conftest import need_lab
from tests.cluster.lab import Lab
from tests.cluster.machine import Host
from tests.cluster.one_host import IMAGE, STAND_IN

pytestmark = pytest.mark.cluster

HANG = ["ignore-term", "spawn=600", "phase=timing", "sleep=600"]
"""A program and a child in a session of its own that both ignore SIGTERM."""
LIMIT_S = 180.0
"""For what should take a few seconds: the machine may be busy."""

EITHER = pytest.mark.parametrize("box", ["podman", "docker"], indirect=True)
"""For what depends on the engine; the rest is the same code, and podman alone shows it."""


class Box:
    """A host with containers: runs of the stand-in program in one runtime."""

    def __init__(
        self,
        host: Host,
        runtime: str,
        archives: Path,
        driver: subprocess.Popen[str],
        user: str | None = None,
    ) -> None:
        self.host = host
        self.runtime = runtime
        self.user = user
        self._archives = archives
        self._driver = driver
        self._images: dict[str, str] = {}
        self.folder = f"/home/{user}/one-host" if user else f"/srv/one-host-{runtime}"

    def image(self, name: str = "frame", **how: Any) -> dict[str, Any]:
        """Returns images.json's entry of an image that this host has now."""
        if name not in self._images:
            path = self._archives / f"{name}-{self.runtime}.tar"
            self._images[name] = images.frame(path, f"{name}:1", **how)
            self.host.root(f"/srv/{path.name}").write_bytes(path.read_bytes())
            self.client("load", "--input", f"/srv/{path.name}")
        return {"runtime": self.runtime, "id": self._images[name], "digest": None, "file": None}

    def client(self, *words: str) -> str:
        """Runs the engine's client and returns what it says."""
        return self.host.run(self.runtime, *words, user=self.user).stdout

    def ask(self, verb: str, **more: Any) -> Any:
        """Has the host do one step (tests/cluster/one_host.py)."""
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        print(json.dumps({"verb": verb, "folder": self.folder, **more}), file=self._driver.stdin, flush=True)
        return json.loads(self._driver.stdout.readline())

    def start(
        self,
        *words: str,
        image: dict[str, Any] | None = None,
        container: dict[str, Any] | None = None,
        mounts: tuple[Any, ...] = (),
        run: str = "run",
        run_id: str = "20260101_000000-abcdef",
        python: str = "",
        verb: str = "start",
        **changes: Any,
    ) -> dict[str, Any]:
        """Starts a run and returns its first state; with the verb ``stage`` it is only put there."""
        wanted = {"privileged": True, "entrypoint": False, "without": [], "options": [], **(container or {})}
        spec = {
            "container_runtime": self.runtime,
            "container": wanted,
            "mounts": [*images.MOUNTS, f"{STAND_IN.parent}:{STAND_IN.parent}:ro", *mounts],
            "words": words,
            **changes,
        }
        found: dict[str, Any] = self.ask(
            verb, run=run, run_id=run_id, python=python, changes=spec, image=image or self.image()
        )
        return found

    def wait(self, run: str = "run", run_id: str = "20260101_000000-abcdef") -> dict[str, Any]:
        """Returns the state of a run once it has ended."""
        state: dict[str, Any] = self.ask("wait", run=run, run_id=run_id, seconds=LIMIT_S)
        assert state["status"] == "ended"
        return state

    def file(self, name: str, run: str = "run", run_id: str = "20260101_000000-abcdef") -> Path:
        """Returns where this machine sees a file of the run's directory."""
        return self.host.root(f"{self.folder}/work/{run_id}/node1/runs/{run}/0/{name}")

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Waits until something holds; fails the test where it never does."""
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < end, f"{what}: waited in vain; {self.host.processes()}"
            time.sleep(0.1)

    def running(self, run: str = "run") -> dict[str, Any]:
        """Returns the state of a run whose program has come to its phase ``timing``."""
        state: dict[str, Any] = {}

        def runs() -> bool:
            state.update(json.loads(self.file("state.json", run).read_text()))
            assert state["status"] != "ended", state
            return self.file("progress.json", run).exists()

        self.until(runs, "the program runs")
        return state

    def containers(self, *filters: str) -> list[str]:
        """Returns the ids of all containers, running or not; enroot has processes alone."""
        if self.runtime == "enroot":
            return []
        words = [word for each in filters for word in ("--filter", each)]
        return self.client("ps", "--all", "--quiet", "--no-trunc", *words).split()

    def nothing_left(self) -> bool:
        """Returns whether no process and no running container is left of any run."""
        return not self.containers("status=running") and not self.host.of_benchmark()


@contextmanager
def driver(host: Host, user: str | None = None) -> Iterator[subprocess.Popen[str]]:
    """Starts what does the steps on the host (tests/cluster/one_host.py), as root or as another user."""
    process = host.popen(
        "/usr/bin/python3", one_host.__file__, user=user, text=True, cwd="/",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Box]]:
    need_lab()
    with Lab(1) as lab:
        (host,) = lab.hosts
        host.start_docker()
        archives = tmp_path_factory.mktemp("archives")
        with driver(host) as driven:
            yield {runtime: Box(host, runtime, archives, driven) for runtime in ("podman", "docker")}


@pytest.fixture
def box(request: pytest.FixtureRequest, boxes: dict[str, Box]) -> Iterator[Box]:
    box = boxes[getattr(request, "param", "podman")]
    yield box
    for one in box.containers():
        box.host.run(box.runtime, "rm", "--force", one)
    for process in box.host.of_benchmark():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    box.host.run("rm", "-rf", box.folder)


@EITHER
def test_a_program_runs_with_the_plans_environment_and_leaves_records_and_no_container(box: Box) -> None:
    image = box.image(
        "env", env={"IMAGE_SAYS": "image", "LD_LIBRARY_PATH": "/opt/lib", "NCCL_DEBUG": "TRACE"}
    )
    box.start(
        "say=to stdout",
        "warn=to stderr",
        image=image,
        env={"NCCL_DEBUG": "INFO", "LINES": "one\ntwo = 'three'", "LD_LIBRARY_PATH": "/mine:$LD_LIBRARY_PATH",
             "NCCL_TOKEN": "not for the record", "ODD": '$(id) `id` "%s"'},
    )  # fmt: skip
    state = box.wait()
    assert (state["outcome"], state["exit_code"], state["cause"], state["leftovers"]) == (
        "exited",
        0,
        None,
        [],
    )
    assert state["container"]["image_id"] == image["id"]
    assert box.file("logs/stdout.txt").read_text() == "to stdout\n"
    assert box.file("logs/stderr.txt").read_text() == "to stderr\n"
    found = json.loads(box.file("logs/environment.json").read_text())
    variables = found["variables"]
    assert variables["NCCL_DEBUG"] == "INFO"
    assert variables["LINES"] == "one\ntwo = 'three'"
    assert variables["LD_LIBRARY_PATH"] == "/mine:/opt/lib"
    assert variables["ODD"] == '$(id) `id` "%s"'
    assert "/jit/" in variables["EP_JIT_CACHE_DIR"]
    assert "IMAGE_SAYS" in found["not_shown"]
    assert "NCCL_TOKEN" in found["not_shown"]
    record = json.loads(box.file("logs/container.json").read_text())
    assert record["inside"]["uid"] == 0
    assert record["inside"]["hostname"] == "node1"
    assert "eth0" in record["inside"]["interfaces"]
    assert not [word for word in record["create"] if "three" in word or "not for the record" in word]
    assert f'image_id = "{image["id"]}"' in box.file("metadata.toml").read_text()
    assert box.containers() == []
    box.until(box.nothing_left, "nothing is left")


def test_a_failure_is_the_programs_own_and_what_it_left_is_named(box: Box) -> None:
    box.start("spawn=600", "exit=3")
    state = box.wait()
    assert (state["outcome"], state["exit_code"]) == ("exited", 3)
    assert state["cause"] == "the program ended with exit code 3"
    assert len(state["leftovers"]) == 1
    assert state["leftovers"][0].startswith("in the container: pid ")
    assert box.containers() == []


def test_a_signal_is_recorded_as_one(box: Box) -> None:
    box.start("signal=9")
    state = box.wait()
    assert (state["exit_code"], state["cause"]) == (-9, "the program was killed by SIGKILL")


@EITHER
def test_at_the_deadline_the_stacks_are_kept_and_all_is_ended(box: Box) -> None:
    box.start(*HANG, time_limit_s=30)
    state = box.wait()
    assert state["outcome"] == "timeout"
    assert "time limit of 30 s" in state["cause"]
    assert "stand_in.py" in box.file("logs/stacks.txt").read_text()
    assert box.containers() == []
    box.until(box.nothing_left, "nothing is left")


def test_the_images_own_py_spy_is_asked(box: Box) -> None:
    said = '#!/bin/sh\necho "a stand-in for py-spy: $*"\n'
    image = box.image("py-spy", files={"/opt/py-spy": said}, env={"PATH": "/opt:/usr/bin:/bin"})
    box.start(*HANG, time_limit_s=30, image=image)
    assert box.wait()["stacks"] == "py-spy of the image"
    stacks = box.file("logs/stacks.txt").read_text()
    assert "stand_in.py" in stacks
    assert "a stand-in for py-spy: dump --nonblocking --pid" in stacks


def test_a_stop_ends_what_ignores_sigterm(box: Box) -> None:
    box.start(*HANG)
    box.running()
    state = box.ask("stop")
    assert (state["outcome"], state["cause"], state["leftovers"]) == ("stopped", "enough", [])
    assert box.containers() == []
    box.until(box.nothing_left, "nothing is left")


@EITHER
@pytest.mark.parametrize("victims", [("supervisor",), ("supervisor", "guardian"), ("client",)])
def test_nothing_outlives_those_who_hold_the_run(box: Box, victims: tuple[str, ...]) -> None:
    box.start(*HANG)
    state = box.running()
    pids = {"supervisor": state["pid"], "guardian": state["guardian"]["pid"], "client": state["program_pid"]}
    # The guardian first: it must not see the supervisor's end.
    for name in reversed(victims):
        box.host.run("kill", f"-{signal.SIGKILL}", str(pids[name]))
    box.until(box.nothing_left, "all is gone")
    seen = box.ask("observe")
    assert seen["status"] == "ended"
    if victims == ("client",):
        assert seen["outcome"] == "exited"
        assert "client ended while its container ran" in seen["cause"]
    else:
        assert seen["outcome"] == "lost"
    assert box.containers() == []


@EITHER
def test_a_container_that_somebody_removes_is_said_to_be(box: Box) -> None:
    """Also that a process in it stood still before: docker's are no descendants of the supervisor."""
    box.start(*HANG)
    container = box.running()["container"]["id"]
    assert box.host.signal("phase=timing", signal.SIGSTOP)
    box.until(lambda: json.loads(box.file("state.json").read_text())["still"], "it is seen")
    box.host.run(box.runtime, "rm", "--force", container)
    state = box.wait()
    assert state["exit_code"] != 0
    assert state["cause"].startswith("stopped by a signal (SIGSTOP or a debugger): pid ")
    assert "phase=timing" in state["cause"]
    assert "removed by somebody else" in state["cause"] or "ended from outside" in state["cause"]


@EITHER
def test_out_of_memory_is_named(box: Box) -> None:
    eat = "x = bytearray(1 << 30); print(len(x))"
    box.start(container={"options": ["--memory=64m", "--memory-swap=64m"]}, argv=["python3", "-c", eat])
    state = box.wait()
    assert state["exit_code"] == -9
    assert state["cause"].startswith("killed by OOM (out of memory): its memory limit of 64 MiB was reached")


@EITHER
def test_an_image_without_python_is_named_with_the_way_out(box: Box) -> None:
    box.start(mounts=(), python="/opt/none/python3")
    state = box.wait()
    assert state["outcome"] == "start_failed"
    assert state["cause"].startswith(
        f"container could not be started: image {IMAGE} has no /opt/none/python3:"
    )
    assert "set deepep_python" in state["cause"]
    assert box.containers() == []


def test_a_program_that_the_image_lacks_is_named(box: Box) -> None:
    script = "/workspace/dp-benchmark/benchmark/benchmark.py"
    box.start(argv=["torchrun", script], program="image")
    state = box.wait()
    assert state["outcome"] == "start_failed"
    assert f"the image has no {script}" in state["cause"]
    box.ask("clean")
    box.start(argv=["torchrun"])
    assert "the image has no torchrun in its search path" in box.wait()["cause"]


@EITHER
def test_leftovers_are_found_by_their_labels_and_removed_by_the_next_run_and_by_cleanup(box: Box) -> None:
    old = "20250101_000000-000000"
    image = box.image()

    def leave(**labels: str) -> str:
        own = {"work_dir": f"{box.folder}/work", "host": "node1", "run_id": old, "run": "run/0", **labels}
        marks = [f"--label=deepep.{name}={value}" for name, value in own.items()]
        return box.host.run(
            box.runtime, "create", *marks, "--network=host", image["id"], "true"
        ).stdout.split()[-1]

    mine, other_host, other_user = leave(), leave(host="node2"), leave(work_dir="/srv/another/work")
    box.start("say=x")
    box.wait()
    assert sorted(box.containers()) == sorted([other_host, other_user])
    assert mine[:12] in box.file("logs/supervisor.txt").read_text()
    again = leave()
    assert again[:12] in str(box.ask("clean", dry=True)["ended"])
    assert again in box.containers()
    assert again[:12] in str(box.ask("clean")["ended"])
    assert sorted(box.containers()) == sorted([other_host, other_user])


@EITHER
def test_the_images_user_and_entry_point_do_not_matter_unless_asked_for(box: Box) -> None:
    script = '#!/bin/sh\necho "from the entry point"\nexec "$@"\n'
    image = box.image("entry", files={"/entry.sh": script}, entrypoint=["/entry.sh"], user="1234")
    box.start("say=plain", image=image)
    assert box.wait()["exit_code"] == 0
    assert box.file("logs/stdout.txt").read_text() == "plain\n"
    box.ask("clean")
    box.start("say=through", image=image, container={"entrypoint": True})
    assert box.wait()["exit_code"] == 0
    assert box.file("logs/stdout.txt").read_text() == "from the entry point\nthrough\n"


def test_a_missing_mount_and_an_image_that_was_not_staged_are_refused_at_once(box: Box) -> None:
    found = box.start("say=x", mounts=("/nonexistent:/data",))
    assert "the mount's source /nonexistent does not exist on this host" in found["refused"]
    found = box.start("say=x", image={"runtime": "enroot", "id": "/a.sqsh", "digest": None})
    assert f"image {IMAGE} was staged for enroot" in found["refused"]


def test_an_unprivileged_container_with_options_of_its_own(box: Box) -> None:
    box.start("say=x", container={"privileged": False, "without": ["uts"], "options": ["--hostname=other"]})
    state = box.wait()
    assert (state["exit_code"], state["cause"]) == (0, None)
    record = json.loads(box.file("logs/container.json").read_text())
    assert record["inside"]["hostname"] == "other"
    assert "--cap-add=IPC_LOCK" in record["create"]
    assert "--privileged" not in record["create"]


@pytest.mark.parametrize("runtime", ["podman", "docker"])
def test_what_a_users_run_writes_is_the_users_to_remove(
    boxes: dict[str, Box], runtime: str, tmp_path: Path
) -> None:
    host = boxes["podman"].host
    host.run("usermod", "--append", "--groups", "docker", "perf")
    # A host of the lab masks parts of /proc: a user's container cannot have a /proc of its own there.
    options = ["--pid=host"] if runtime == "podman" else []
    with driver(host, "perf") as driven:
        box = Box(host, runtime, tmp_path, driven, "perf")
        image = box.image("of-user", user="1234")
        box.start("file=results/x/y", "spawn=600", image=image, container={"options": options})
        state = box.wait()
        assert (state["exit_code"], state["cause"]) == (0, None)
        assert len(state["leftovers"]) == 1, state["leftovers"]
        uid = int(host.run("id", "--user", "perf").stdout)
        assert box.file("results/x/y").stat().st_uid == uid
        inside = json.loads(box.file("logs/container.json").read_text())["inside"]
        assert inside["uid"] == (0 if runtime == "podman" else uid)
        assert box.containers() == []
        # A second run, ended while it hangs; and podman's own helper of this user is none of ours.
        box.start(*HANG, image=image, run="again", container={"options": options})
        box.running("again")
        assert box.ask("stop", run="again")["leftovers"] == []
        box.until(box.nothing_left, "nothing is left")
        box.ask("clean")
        assert not host.exists(f"{box.folder}/work")


TORCH = """
__version__ = "2.9.0"
class version:
    cuda = "12.8"
class cuda:
    device_count = staticmethod(lambda: 8)
"""
NVCC = "#!/bin/sh\necho 'Cuda compilation tools, release 12.8, V12.8.93'\n"
OF_IMAGE = {"/opt/site/torch.py": TORCH, "/opt/cuda/bin/nvcc": NVCC}
ASKED = {"of": ["torch", "nvcc"], "commands": ["sh", "torchrun"], "files": ["/opt/cuda/bin/nvcc", "/none.py"]}
OF_RUN = {"PYTHONPATH": "/opt/site", "CUDA_HOME": "/opt/cuda"}


def check_content(box: Box, answer: dict[str, Any]) -> None:
    """Checks what was found in an image with ``OF_IMAGE``, and that nothing stays of having looked."""
    found = answer["found"]
    assert found["torch"] == {"version": "2.9.0", "cuda": "12.8", "gpus": 8}
    assert found["nvcc"] == [12, 8]
    assert (found["commands"], found["files"]) == (["torchrun"], ["/none.py"])
    box.until(box.nothing_left, "nothing is left")
    assert not box.file("../../../image-content").exists()


@EITHER
def test_an_images_content_is_looked_at_in_the_runs_own_container(box: Box) -> None:
    image = box.image("content", files=OF_IMAGE, env={"PYTHONPATH": "/wrong"})
    # The host is not held yet: what another session has there stays.
    mark = f"--label=deepep.work_dir={box.folder}/work"
    other = [mark, "--label=deepep.host=node1", "--label=deepep.run_id=20250101_000000-000000"]
    (stays,) = box.client("create", *other, "--network=host", image["id"], "true").split()[-1:]
    mounts = tuple({"join": [{"var": "run_dir"}, f"/{name}:/{name}"]} for name in ("config.yaml", "results"))
    box.start(verb="stage", image=image, env=OF_RUN, mounts=mounts)
    check_content(box, box.ask("look", asked=ASKED, seconds=LIMIT_S))
    assert box.containers() == [stays]


@EITHER
def test_an_image_that_does_not_answer_is_left_and_one_without_python_refused(box: Box) -> None:
    slow = {"/opt/site/torch.py": "import time; time.sleep(600)"}
    box.start(verb="stage", image=box.image("slow", files=slow), env=OF_RUN)
    answer = box.ask("look", asked=ASKED, seconds=3)
    assert answer == {"problem": "the container took more than 3 s", "refused": False}
    box.until(box.nothing_left, "nothing is left")
    answer = box.ask("look", asked=ASKED, seconds=LIMIT_S, python="/opt/none/python3")
    assert answer["refused"]
    assert f"image {IMAGE} has no /opt/none/python3" in answer["problem"]
    fatal = {"/opt/site/torch.py": "import os; os.abort()"}
    box.start(verb="stage", image=box.image("fatal", files=fatal), env=OF_RUN)
    answer = box.ask("look", asked=ASKED, seconds=LIMIT_S)
    assert (answer["refused"], "SIGABRT" in answer["problem"]) == (True, True)
    assert box.containers() == []


class Enroot(Box):
    """The stand-in for enroot (enroot_stand_in.py) in its place on the host."""

    def image(self, name: str = "frame", **content: Any) -> dict[str, Any]:
        """Returns images.json's entry of a file that the stand-in takes for a squashfs."""
        path = f"/srv/{name}.sqsh"
        content = {"environment": ["PATH=/usr/bin:/bin"], **content}
        self.host.root(path).write_bytes(b"hsqs" + json.dumps(content).encode())
        return {"runtime": "enroot", "id": path, "digest": None, "file": path}

    def calls(self, run_id: str = "20260101_000000-abcdef") -> list[dict[str, Any]]:
        """Returns what the stand-in was called with."""
        path = self.host.root(f"{self.folder}/work/{run_id}/node1/enroot/calls.jsonl")
        return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def enroot(boxes: dict[str, Box]) -> Iterator[Enroot]:
    of_podman = boxes["podman"]
    host = of_podman.host
    program = host.root("/usr/local/bin/enroot")
    program.write_text(Path(enroot_stand_in.__file__).read_text())
    program.chmod(0o755)
    box = Enroot(host, "enroot", of_podman._archives, of_podman._driver)
    yield box
    for process in host.of_benchmark():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    program.unlink()
    host.run("rm", "-rf", box.folder)


def test_recorded_enroot_gets_what_it_needs_and_the_plans_environment_wins(enroot: Enroot) -> None:
    image = enroot.image(
        # As docker::configure of enroot writes it.
        files={"/etc/rc": 'cd "/var" && unset OLDPWD || exit 1\necho from the entry point; exec "$@"\n'},
        environment=["NCCL_DEBUG=TRACE", "LD_LIBRARY_PATH=/opt/lib", "PATH=/usr/bin:/bin"],
    )
    env = {"NCCL_DEBUG": "INFO", "LINES": "one\ntwo=2", "LD_LIBRARY_PATH": "/mine:$LD_LIBRARY_PATH"}
    # The host's own settings, which enroot would follow.
    enroot.host.root("/etc/environment").touch()
    enroot.start("say=first", image=image, env=env, mounts=("/srv:/srv/of/host:ro",))
    state = enroot.wait()
    assert (state["outcome"], state["exit_code"], state["cause"]) == ("exited", 0, None)
    assert enroot.file("logs/stdout.txt").read_text() == "first\n"
    variables = json.loads(enroot.file("logs/environment.json").read_text())["variables"]
    assert {name: variables[name] for name in env} == {**env, "LD_LIBRARY_PATH": "/mine:/opt/lib"}
    create, start = enroot.calls()
    base = f"{enroot.folder}/work/20260101_000000-abcdef/node1"
    assert create["argv"][:3] == ["create", "--force", "--name"]
    assert create["argv"][4] == "/srv/frame.sqsh"
    for name in ("DATA", "CACHE", "RUNTIME", "TEMP"):
        assert start["env"][f"ENROOT_{name}_PATH"].startswith(f"{base}/enroot/")
    assert {start["env"][f"ENROOT_{name}"] for name in ("MOUNT_HOME", "REMAP_ROOT", "LOGIN_SHELL")} == {"no"}
    assert start["argv"][:2] == ["start", "--rw"]
    assert "--env=DEEPEP_RUN_ID" in start["argv"]
    assert f"--mount={base}/runs/run/0:{base}/runs/run/0:none:x-create=dir,rbind,rw" in start["argv"]
    assert "--mount=/srv:/srv/of/host:none:x-create=dir,rbind,ro" in start["argv"]
    assert "--root" not in start["argv"]
    assert not [word for word in start["argv"] if "INFO" in word]
    # Unpacked once per session, and gone with it.
    enroot.start("say=second", image=image, run="again", container={"entrypoint": True})
    assert enroot.wait("again")["exit_code"] == 0
    assert enroot.file("logs/stdout.txt", "again").read_text() == "from the entry point\nsecond\n"
    assert [call["argv"][0] for call in enroot.calls()] == ["create", "start", "start"]
    # The image's own program starts where its image says, also without the entry point.
    where = ["python3", "-c", "import os; print(os.getcwd())"]
    enroot.start(image=image, run="own", program="image", argv=where)
    assert enroot.wait("own")["exit_code"] == 0
    assert enroot.file("logs/stdout.txt", "own").read_text() == "/var\n"
    enroot.ask("clean")
    assert not enroot.host.exists(base)


def test_recorded_enroot_unpacks_an_image_once_to_look_into_it_and_to_run_it(enroot: Enroot) -> None:
    image = enroot.image(files=OF_IMAGE)
    enroot.start("say=x", verb="stage", image=image, env=OF_RUN)
    check_content(enroot, enroot.ask("look", asked=ASKED, seconds=LIMIT_S))
    enroot.start("say=x", image=image)
    assert enroot.wait()["exit_code"] == 0
    assert [call["argv"][0] for call in enroot.calls()] == ["create", "start", "start"]


def test_nothing_in_recorded_enroot_outlives_those_who_hold_the_run(enroot: Enroot) -> None:
    enroot.start(*HANG, image=enroot.image())
    state = enroot.running()
    for pid in (state["guardian"]["pid"], state["pid"]):
        enroot.host.run("kill", "-9", str(pid))
    enroot.until(enroot.nothing_left, "all is gone")
    assert enroot.ask("observe")["outcome"] == "lost"


def test_what_recorded_enroot_refuses_is_the_cause(enroot: Enroot) -> None:
    image = enroot.image("broken")
    enroot.host.root(image["file"]).write_text("no squashfs")
    enroot.start("say=x", image=image)
    state = enroot.wait()
    assert state["outcome"] == "start_failed"
    assert state["cause"] == "container could not be started: [ERROR] Invalid image format: /srv/broken.sqsh"
    enroot.ask("clean")
    enroot.start("say=x", image=enroot.image(), python="python7")
    assert f"image {IMAGE} has no python7: use an image with Python 3.8" in enroot.wait()["cause"]
    enroot.ask("clean")
    found = enroot.start("say=x", image=enroot.image(), mounts=("/srv:/a b",))
    assert "enroot cannot mount '/a b'" in found["refused"]
