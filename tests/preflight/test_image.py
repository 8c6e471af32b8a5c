"""What an image's content means for the runs that need it, and what the probe in the container says."""

from __future__ import annotations

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from compiler.resources import host_code, resource

host_code()

from deepep_host import lease, verbs  # noqa: E402
from deepep_host.lock import HostInUse  # noqa: E402
from deepep_host.preflight import entry  # noqa: E402
from deepep_host.preflight import image as image_check  # noqa: E402
from deepep_host.session import Session, gate  # noqa: E402

STAND_IN = Path(__file__).parents[1] / "bench_program" / "stand_in"
TORCH = {"version": "2.9.0", "cuda": "12.8", "gpus": 8}
V1 = {"version": "1.2.1+9af0e0d", "elastic": False, "stand_in": False}
V2 = {"version": "2.1.0", "elastic": True, "stand_in": False}
NO_NVCC = {"error": "FileNotFoundError: no /usr/local/cuda/bin/nvcc"}


def run_of(name: str = "a", **changes: Any) -> dict[str, Any]:
    """Returns a run of a plan as far as it matters here."""
    return {
        "id": f"{name}/0", "program": "bundled", "backend": "deepep", "mode": "standard", "image": "reg/i:1",
        "container_runtime": "docker", "container": {"options": []}, "mounts": [], "env": {}, "config": {},
        "argv": [{"var": "python"}, "-m", "torch.distributed.run"], "ranks_per_host": 8, "after": [],
        "hosts": [{"name": "n1"}, {"name": "n2"}], **changes,
    }  # fmt: skip


def found(**changes: Any) -> dict[str, Any]:
    """Returns an answer of :func:`image_check.look`."""
    of = {"python": "3.12.3", "commands": [], "files": [], "torch": TORCH, "deep_ep": V1, "nvcc": NO_NVCC}
    return {"found": {**of, **changes}}


@pytest.mark.parametrize(
    ("run", "answer", "result", "part"),
    [
        ({}, found(), "pass", "torch 2.9.0 (CUDA 12.8, 8 GPUs), deep_ep 1.2.1+9af0e0d"),
        ({}, found(deep_ep=V2, nvcc=[12, 8]), "pass", "deep_ep 2.1.0, nvcc 12.8"),
        ({}, found(deep_ep=V2), "fail", "no nvcc that answers"),
        ({}, found(deep_ep=V2, nvcc=[12, 2]), "fail", "V2's kernels need 12.3"),
        # Low latency is always V1, which needs no compiler.
        ({"mode": "low_latency"}, found(deep_ep=V2), "pass", "deep_ep 2.1.0"),
        ({"backend": "deepep_v1"}, found(deep_ep=V2), "pass", "deep_ep 2.1.0"),
        ({"backend": "deepep_v2"}, found(), "fail", "no ElasticBuffer"),
        ({}, found(deep_ep={"error": "this Python has no package deep_ep"}), "fail", "no package deep_ep"),
        ({}, found(torch={"error": "ModuleNotFoundError: x"}), "fail", "cannot import torch: ModuleNotF"),
        ({}, found(torch={**TORCH, "gpus": 4}), "fail", "8 ranks here, and torch sees 4 GPUs"),
        ({"backend": "gloo"}, found(torch={**TORCH, "gpus": 0}), "pass", "0 GPUs"),
        ({"program": "image"}, found(commands=["torchrun"]), "fail", "no torchrun in its search path"),
        ({"program": "image"}, found(files=["/b.py"]), "fail", "no /b.py"),
        ({}, {"problem": "container could not be started: x", "refused": True}, "fail", "reg/i:1: container"),
        ({}, {"problem": "the container took more than 120 s", "refused": False}, "unknown", "not checked"),
    ],
)  # fmt: skip
def test_what_it_means_for_a_run(run: dict[str, Any], answer: dict[str, Any], result: str, part: str) -> None:
    outcome = image_check.judge(run_of(**run), answer)
    assert (outcome.result, part in outcome.text) == (result, True), outcome
    assert bool(outcome.remedy) == (result == "fail")


def test_one_container_for_runs_that_are_alike() -> None:
    runs = [
        run_of("a"),
        run_of("b", env={"NCCL_DEBUG": "INFO"}, config={"tokens": 1}),
        run_of("path", env={"LD_LIBRARY_PATH": "/x"}),
        run_of("mount", mounts=["/x:/x"]),
        run_of("gloo", backend="gloo"),
        run_of("bare", container_runtime="none"),
    ]
    groups = [[run["id"] for run in alike] for alike in image_check.groups(runs)]
    assert groups == [["a/0", "b/0"], ["path/0"], ["mount/0"], ["gloo/0"]]


def test_what_is_asked_of_an_images_own_program() -> None:
    own = run_of(
        program="image", argv=["torchrun", "--nproc-per-node=1", "/w/benchmark.py", "/w/config.yaml"]
    )
    assert image_check.questions([own]) == {"of": [], "commands": ["torchrun"], "files": ["/w/benchmark.py"]}
    assert image_check.questions([run_of()])["of"] == ["torch", "deep_ep", "nvcc"]


def session(folder: Path) -> Session:
    """Returns a session whose hosts passed their preflight, but for what is in the image."""
    line = entry("image", "unknown", "not checked: an image is looked into once it is staged")
    (folder / "run.json").write_text("{}")
    (folder / "plan.json").write_text(json.dumps({"runs": [], "hosts": {}}))
    opened = Session("r", str(folder), "s", "b")
    for host in ("n1", "n2"):
        opened.keep_preflight(host, {"result": "pass", "checks": [entry("python", "pass", "3.11"), line]})
    return opened


def test_only_the_runs_that_it_concerns_are_refused(tmp_path: Path) -> None:
    opened = session(tmp_path)
    bad, good = run_of("bad", backend="deepep_v2"), run_of("good")
    image_check.keep(opened, "n1", [([bad, good], found())])
    kept = opened.preflight("n1")
    assert kept is not None
    assert [(line["name"], line["result"], line.get("runs")) for line in kept["checks"]] == [
        ("python", "pass", None),
        ("image", "fail", ["bad/0"]),
        ("image", "pass", ["good/0"]),
    ]
    assert kept["result"] == "fail"
    refused = gate(opened, bad)
    assert refused is not None
    assert "host n1 did not pass its preflight: reg/i:1: " in str(refused["reason"])
    assert gate(opened, good) is None


def test_a_failure_can_be_tolerated(tmp_path: Path) -> None:
    opened = session(tmp_path)
    (line,) = image_check.keep(opened, "n1", [([run_of(backend="deepep_v2")], found())], tolerated=True)
    assert (line["result"], "(tolerated" in line["text"]) == ("warn", True)
    assert gate(opened, run_of(backend="deepep_v2")) is None


def test_the_probe_says_what_the_run_will_import(torch_python: Path, tmp_path: Path) -> None:
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 12.9, V12.9.41'\n")
    nvcc.chmod(0o755)
    program = resource("roles") / "deepep_run" / "files"
    asked = {**image_check.questions([run_of()]), "program": str(program)}

    def probe(**environment: str) -> dict[str, Any]:
        done = subprocess.run(
            [torch_python, "-c", image_check._PROBE, json.dumps(asked)], capture_output=True, check=True,
            text=True, cwd="/", env={**os.environ, **environment},
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(done.stdout.rpartition("@image@")[2])
        return answer

    said = probe(PYTHONPATH=str(STAND_IN), CUDA_HOME=str(tmp_path))
    assert set(said) == {"python", "torch", "deep_ep", "nvcc", "commands", "files"}
    assert said["torch"]["version"].startswith("2.")
    assert said["deep_ep"]["stand_in"]
    assert said["nvcc"] == [12, 9]
    assert image_check.judge(run_of(), {"found": said}).result == "pass"
    said = probe(CUDA_HOME="/nonexistent")
    assert "no package deep_ep" in said["deep_ep"]["error"]
    assert "FileNotFoundError" in said["nvcc"]["error"]


ENROOT = """#!/bin/sh
# A stand-in for an enroot whose unpacking takes its time.
touch "{folder}/unpacks"
while [ ! -e "{folder}/go" ]; do sleep 0.05; done
echo "no room" >&2
exit 1
"""


def test_the_host_stays_this_sessions_while_its_image_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, leases = tmp_path / "r" / "n1", tmp_path / "leases"
    wanted = {"privileged": True, "without": [], "entrypoint": False, "options": []}
    spec = run_of(container_runtime="enroot", container=wanted)
    base.mkdir(parents=True)
    (base / "plan.json").write_text(json.dumps({"run_id": "r", "host": "n1", "runs": {"a/0": spec}}))
    (base / "images.json").write_text(json.dumps({"reg/i:1": {"runtime": "enroot", "id": "/i.sqsh"}}))
    program = tmp_path / "bin" / "enroot"
    program.parent.mkdir()
    program.write_text(ENROOT.format(folder=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    def take(session: str, patience_s: float = 0.0) -> None:
        lease.take(leases, tmp_path / session / "n1", session, "n1", [session], {}, patience_s)

    take("r")
    (note,) = leases.glob("r.n1.json")
    os.utime(note, (0, 0))
    with ThreadPoolExecutor(1) as pool:
        given = {
            "work_dir": str(tmp_path), "run_id": "r", "host": "n1", "run": "a/0", "timeout_s": 5,
            "asked": json.dumps(image_check.questions([spec])),
        }  # fmt: skip
        looks = pool.submit(verbs.content, given)
        try:
            while not (tmp_path / "unpacks").exists():
                assert not looks.done(), looks.result()
                time.sleep(0.05)
            with pytest.raises(HostInUse):
                take("other")
        finally:
            (tmp_path / "go").touch()
        assert "no room" in looks.result()["problem"]
    # What took so long was a sign of life.
    with pytest.raises(HostInUse):
        take("other")
