"""What is in an image: looked at once on every host, after staging and before the first run that needs it.

A short container with a run's own settings imports what the run will import. What it finds takes the place of
the line ``image`` in the host's preflight, so that runs which cannot work are refused before they start.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import container
from ..box import SETTLE_S, Box
from ..engine import last_line
from ..files import read_json, write_text
from ..launch import LaunchError
from .model import Outcome, entry, fail, ok, unknown, worst
from .needs import needs_of

if TYPE_CHECKING:
    from ..session import Session

TIMEOUT_S = 120.0
"""How long the container may take; a first import of torch from a cold disk takes most of a minute."""
NAME, ITEM = "image", "P20"
REMEDY = "docs/containers.md says what an image must contain"
NVCC = (12, 3)
"""The oldest nvcc that DeepEP V2's kernels compile with."""

_GRACE_S = 5.0
_PLACE = "image-content"
_DECIDES = ("PATH", "PYTHON", "LD_", "CUDA", "EP_JIT_NVCC_COMPILER", "NVIDIA_")
"""Variables of a run (by how they begin) with which another container would be found."""

_PROBE = r"""
import json, os, re, shutil, subprocess, sys

asked = json.loads(sys.argv[1])
out = {"python": "%d.%d.%d" % sys.version_info[:3]}


def torch():
    import torch
    return {"version": torch.__version__, "cuda": torch.version.cuda, "gpus": torch.cuda.device_count()}


def deep_ep():
    sys.path.insert(0, asked["program"])
    from deepep_bench.backends.package import load
    found = load()
    return {"version": found.version, "elastic": found.elastic, "stand_in": found.stand_in}


def nvcc():
    # As DeepEP's compiler.hpp and find_cuda_home.
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    there = os.path.join(home, "bin", "nvcc") if home else shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    there = os.environ.get("EP_JIT_NVCC_COMPILER") or there
    said = subprocess.check_output([there, "--version"], timeout=20).decode("utf-8", "replace")
    return [int(part) for part in re.search(r"release (\d+)\.(\d+)", said).groups()]


for name in asked["of"]:
    try:
        out[name] = {"torch": torch, "deep_ep": deep_ep, "nvcc": nvcc}[name]()
    except Exception as error:
        out[name] = {"error": "%s: %s" % (type(error).__name__, error)}
out["commands"] = [name for name in asked["commands"] if not shutil.which(name)]
out["files"] = [path for path in asked["files"] if not os.path.isfile(path)]
print("\n@image@" + json.dumps(out))
"""


# ---- on the host ----


def look(
    base: Path,
    work_dir: Path,
    run: str,
    python: str,
    jit_cache_dir: str,
    asked: Mapping[str, Any],
    timeout_s: float = TIMEOUT_S,
) -> dict[str, Any]:
    """Returns ``{"found": {...}}``, or ``{"problem", "refused"}``: whether the run itself would fail by it.

    ``base`` is the session's directory on this host, ``run`` the id of the run whose container is made;
    ``asked``: see :func:`questions`. Nothing of it stays.
    """
    plan = read_json(base / "plan.json") or {}
    spec = (plan.get("runs") or {}).get(run)
    if spec is None:
        return {"problem": f"{run} is not staged on this host", "refused": False}
    folder = base / _PLACE
    shutil.rmtree(folder, ignore_errors=True)
    # As a run's directory: an image's own benchmark has parts of it mounted.
    for name in ("logs", "results", "traces"):
        (folder / name).mkdir(mode=0o700, parents=True)
    write_text(folder / "config.yaml", "")
    python = python or container.PYTHON
    program = str(base / "program")
    variables = {"python": python, "program_dir": program, "run_dir": str(folder), "node_rank": "0",
                 "master_addr": "127.0.0.1", "master_port": "0"}  # fmt: skip
    # With these a cleanup finds it again.
    marks = {"DEEPEP_RUN_ID": plan["run_id"], "DEEPEP_HOST": plan["host"], "DEEPEP_RUN": _PLACE}
    own = {**spec, "id": _PLACE}
    argv = [python, "-c", _PROBE, json.dumps({**asked, "program": program})]
    try:
        made = container.describe(plan, own, base, folder, work_dir, python, jit_cache_dir, variables, marks)
        container.write_enter(folder, own, argv, {**spec["env"], **marks}, made, _GRACE_S)
        launch = {"container": made, "run_id": plan["run_id"], "host": plan["host"], "run": _PLACE}
        return _enter(Box(folder, launch, lambda _line: None), folder, timeout_s)
    except (LaunchError, OSError) as error:
        return {"problem": str(error), "refused": True}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _enter(box: Box, folder: Path, timeout_s: float) -> dict[str, Any]:
    logs = folder / "logs"
    try:
        # What earlier runs left is cleared by the first run.
        box.open(lambda: None, alone=False)
        argv, env = box.command()
        with (logs / "stdout.txt").open("ab") as out, (logs / "stderr.txt").open("ab") as err:
            client = subprocess.Popen(  # noqa: S603 - our own argv, no shell
                argv, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True,
            )  # fmt: skip
        code = _wait(client, timeout_s)
        if code is None:
            box.release()
            _wait(client, _GRACE_S + SETTLE_S)
            return {"problem": f"the container took more than {timeout_s:.0f} s", "refused": False}
        ending = box.ending(code)
    finally:
        box.remove()
    said = (logs / "stdout.txt").read_text(encoding="utf-8", errors="replace").rpartition("@image@")[2]
    try:
        return {"found": dict(json.loads(said))}
    except ValueError:
        why = last_line((logs / "stderr.txt").read_text(encoding="utf-8", errors="replace"))
        told = ending.cause or "the program gave no answer"
        return {"problem": told if not ending.started else f"{told}: {why}", "refused": True}


def _wait(client: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return client.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None


# ---- on the controller ----


def groups(runs: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Returns runs of one host whose containers find the same, together; none without a container."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        if run["container_runtime"] != "none" and run["image"]:
            decides = {name: text for name, text in run["env"].items() if name.startswith(_DECIDES)}
            alike = [run["image"], run["container_runtime"], run["container"], run["mounts"], run["program"],
                     questions([run]), decides]  # fmt: skip
            found.setdefault(json.dumps(alike, sort_keys=True), []).append(run)
    return list(found.values())


def questions(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns what to ask the container of runs that are alike."""
    run = runs[0]
    own = run["program"] == "image"
    deep_ep = str(run["backend"]).startswith("deepep")
    files = [word for word in run["argv"] if isinstance(word, str) and word.startswith("/")]
    return {
        # The image's own program has an interpreter that only it knows.
        "of": [] if own else ["torch", *(["deep_ep", "nvcc"] if deep_ep else [])],
        "commands": ["torchrun"] if own else [],
        "files": [word for word in files if word.endswith(".py")] if own else [],
    }


def judge(run: Mapping[str, Any], answer: Mapping[str, Any]) -> Outcome:
    """Returns what ``answer`` (of :func:`look`) means for a run."""
    if answer.get("problem"):
        told = str(answer["problem"])
        return fail(f"{run['image']}: {told}", REMEDY) if answer["refused"] else unknown(told)
    found = answer["found"]
    text = f"{run['image']}: Python {found['python']}"
    for name in found["commands"]:
        return fail(f"{text}, no {name} in its search path", REMEDY)
    for path in found["files"]:
        return fail(f"{text}, no {path}", "deepep_program: bundled brings its own benchmark")
    if "torch" in found:
        torch = found["torch"]
        if "error" in torch:
            return fail(f"{text} cannot import torch: {torch['error']}",
                        "use an image with torch, or set deepep_python to its interpreter there")  # fmt: skip
        text += f", torch {torch['version']} (CUDA {torch['cuda']}, {torch['gpus']} GPUs)"
    if "deep_ep" in found:
        return _deep_ep(run, text, found)
    return _gpus(run, text, found)


def _deep_ep(run: Mapping[str, Any], text: str, found: Mapping[str, Any]) -> Outcome:
    package, nvcc, backend = found["deep_ep"], found["nvcc"], str(run["backend"])
    if "error" in package:
        return fail(f"{text}, {package['error']}", REMEDY)
    text += f", deep_ep {package['version']}"
    if package["stand_in"]:
        return ok(f"{text} (a stand-in)")
    if backend == "deepep_v2" and not package["elastic"]:
        return fail(
            f"{text}: it has no ElasticBuffer, and backend is deepep_v2", "use an image with deep_ep 2.x"
        )
    if backend == "deepep_v1" or run["mode"] == "low_latency" or not package["elastic"]:
        return _gpus(run, text, found)
    # V2 compiles its kernels at run time.
    if isinstance(nvcc, Mapping):
        return fail(
            f"{text}, no nvcc that answers ({nvcc['error']}): V2 compiles at run time",
            "use an image with the CUDA toolkit, or set CUDA_HOME or EP_JIT_NVCC_COMPILER",
        )
    text += f", nvcc {nvcc[0]}.{nvcc[1]}"
    if tuple(nvcc) < NVCC:
        return fail(
            f"{text}: V2's kernels need {NVCC[0]}.{NVCC[1]}", "use an image with a newer CUDA toolkit"
        )
    return _gpus(run, text, found)


def _gpus(run: Mapping[str, Any], text: str, found: Mapping[str, Any]) -> Outcome:
    if "gpu" in needs_of(run) and "torch" in found:
        there = int(found["torch"]["gpus"])
        if there < int(run["ranks_per_host"]):
            return fail(f"{text}: a run has {run['ranks_per_host']} ranks here, and torch sees {there} GPUs",
                        "use a build of torch for this driver's CUDA; look at CUDA_VISIBLE_DEVICES and "
                        "NVIDIA_VISIBLE_DEVICES")  # fmt: skip
    return ok(text)


def keep(
    session: Session,
    host: str,
    answers: Iterable[tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]]],
    tolerated: bool = False,
) -> list[dict[str, Any]]:
    """Puts what was found into a host's preflight, where there was one; returns the lines.

    ``answers``: runs that are alike, and what looking into their container gave.
    """
    lines: list[dict[str, Any]] = []
    for runs, answer in answers:
        told: dict[Outcome, list[str]] = {}
        for run in runs:
            told.setdefault(judge(run, answer), []).append(run["id"])
        for outcome, ids in told.items():
            if tolerated and outcome.result == "fail":
                text = f"{outcome.text} (tolerated: deepep_preflight_tolerate)"
                outcome = Outcome("warn", text, outcome.remedy)
            lines.append(entry(NAME, outcome.result, outcome.text, outcome.remedy, ITEM, ("container",), ids))
    before = session.preflight(host)
    if before is not None and lines:
        checks = [*(line for line in before["checks"] if line["name"] != NAME), *lines]
        session.keep_preflight(host, {**before, "checks": checks, "result": worst(checks)})
    return lines
