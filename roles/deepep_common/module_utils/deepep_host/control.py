"""What the modules do with a run on their host: start it, look at it, wait for a change, stop it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import container, images, processes
from .files import below, read_json, write_json, write_text
from .launch import LaunchError, expand_argv, expand_environment, render_config, render_env_vars
from .lock import lock_path
from .stage import write_metadata
from .state import (
    ended,
    guardian_of,
    new_state,
    read_state,
    run_dir,
    supervisor_of,
    write_state,
)
from .supervisor import request_stop
from .trouble import keep_reserve

GRACE_S = 5.0
"""Between SIGTERM and SIGKILL."""

START_S = 15.0
"""How long a supervisor may take to come up."""


class Refused(Exception):
    """A request that this host cannot meet; the text says why."""


def load_slice(base: Path) -> dict[str, Any]:
    """Returns this host's part of the plan. Raises Refused before anything was staged."""
    plan = read_json(base / "plan.json")
    if plan is None:
        raise Refused("nothing is staged for this session on this host")
    return plan


def start(
    base: Path,
    work_dir: Path,
    run: str,
    master_addr: str,
    master_port: int,
    python: str,
    jit_cache_dir: str = "",
) -> dict[str, Any]:
    """Starts the supervisor of ``run`` and returns its first state; one that was started before stays.

    ``python`` is the interpreter of the host, or in the container; empty for ``python3`` of the search path.
    Raises Refused for a run that this host has no part in, and LaunchError for one it cannot start.
    """
    plan = load_slice(base)
    spec = plan["runs"].get(run)
    if spec is None:
        raise Refused(f"run {run} has no part on this host")
    folder = run_dir(base, run)
    before = observe(folder)
    if before is not None:
        return before
    prepare(
        plan,
        spec,
        base,
        folder,
        work_dir,
        master_addr,
        master_port,
        python or container.PYTHON,
        jit_cache_dir,
    )
    # An absent state must mean "never started": this one is replaced by the supervisor's own.
    write_state(folder, new_state(plan["run_id"], run, plan["host"]))
    with (folder / "logs" / "supervisor.txt").open("ab") as output:
        guardian = subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, "-I", str(base / "program" / "supervise.py"), str(folder)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        state = read_state(folder)
        if state is not None and state["status"] != "starting":
            return state
        if guardian.poll() is not None:
            break
        time.sleep(0.02)
    state = read_state(folder)
    if state is not None and state["status"] != "starting":
        return state
    # One that comes up later would say that the run goes on.
    processes.end_all(lambda: [guardian.pid, *processes.descendants(guardian.pid)], 0.0)
    state = read_state(folder) or new_state(plan["run_id"], run, plan["host"])
    if state["status"] != "ended":
        state["leftovers"] = _end_remains(folder, state)
        state = ended(state, "start_failed", "the supervisor did not come up; see logs/supervisor.txt")
        write_state(folder, state)
    return state


def prepare(
    plan: Mapping[str, Any],
    spec: Mapping[str, Any],
    base: Path,
    folder: Path,
    work_dir: Path,
    master_addr: str,
    master_port: int,
    python: str,
    jit_cache_dir: str = "",
) -> None:
    """Writes what the run needs into its directory: launch.json, config.yaml, env_vars.sh, folders.

    In a container the environment is made there (:mod:`deepep_host.inside`), from enter.json.
    """
    for name in ("logs", "results", "traces"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    keep_reserve(folder)
    variables = {
        "python": python,
        "program_dir": str(base / "program"),
        "run_dir": str(folder),
        "node_rank": str(spec["node_rank"]),
        "master_addr": master_addr,
        "master_port": str(master_port),
    }
    marks = {
        "DEEPEP_RUN_ID": plan["run_id"],
        "DEEPEP_HOST": plan["host"],
        "DEEPEP_RUN": spec["id"],
        "DEEPEP_STAMP": plan["stamp"],
    }
    # A container that is there already when the run is prepared: srun made it.
    around: Mapping[str, Any] | None = spec.get("around")
    staged = around or (images.find(base, spec["image"]) if spec.get("image") else None)
    if staged and (around or spec["container_runtime"] != "none"):
        # For the records: all hosts have the same.
        marks["DEEPEP_IMAGE_DIGEST"] = str(staged["digest"])
    argv = expand_argv(spec["argv"], variables)
    if not argv:
        raise LaunchError("the plan holds an empty command line")
    write_text(folder / "config.yaml", render_config(spec["config"]))
    in_container = spec["container_runtime"] != "none"
    described = (
        container.describe(plan, spec, base, folder, work_dir, python, jit_cache_dir, variables, marks)
        if in_container
        else None
    )
    write_metadata(base, folder, spec["nodes"], spec["ranks_per_host"], described or around)
    run_env, unset = (dict(spec["env"]), []) if in_container else expand_environment(spec["env"], os.environ)
    write_text(folder / "env_vars.sh", render_env_vars({**run_env, **marks}))
    if described:
        container.write_enter(folder, spec, argv, {**run_env, **marks}, described, GRACE_S)
    write_json(
        folder / "launch.json",
        {
            "run_id": plan["run_id"],
            "run": spec["id"],
            "host": plan["host"],
            "node_rank": spec["node_rank"],
            "argv": argv,
            "cwd": str(folder),
            "env": {**run_env, **marks},
            "unset_variables": unset,
            "master_addr": master_addr,
            "master_port": master_port,
            "time_limit_s": spec["time_limit_s"],
            "grace_s": GRACE_S,
            "lock": str(lock_path(work_dir, plan["host"])),
            "base": str(base),
            "container": described,
        },
        mode=0o600,
    )


def observe(folder: Path) -> dict[str, Any] | None:
    """Returns the state of a run, None where it was never started.

    A state that says "running" is believed only while its supervisor, or that one's guardian, is alive.
    Otherwise what is left of the run is ended and the state becomes ``lost``.
    """
    state = read_state(folder)
    if state is None or state["status"] == "ended":
        return state
    keepers = [keeper for keeper in (supervisor_of(state), guardian_of(state)) if keeper]
    if not keepers or any(processes.is_alive(keeper) for keeper in keepers):
        return state
    # The keepers may have ended between the two looks.
    state = read_state(folder) or state
    if state["status"] == "ended":
        return state
    if keepers[0].boot_id != processes.boot_id():
        cause = "this host was restarted during the run"
    else:
        cause = "the supervisor on this host was killed; what it left was ended"
        state["leftovers"] = _end_remains(folder, state)
    state = ended(state, "lost", cause)
    write_state(folder, state)
    return state


def wait_for_end(folder: Path, seconds: float) -> dict[str, Any] | None:
    """Returns the state of a run as soon as it has ended, at the latest after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        state = observe(folder)
        if state is None or state["status"] == "ended" or time.monotonic() >= end:
            return state
        time.sleep(min(0.1, max(0.0, end - time.monotonic())))


def stop(folder: Path, cause: str, wait_s: float = GRACE_S + 25.0) -> dict[str, Any] | None:
    """Ends a run and returns its last state; one that never started or has ended stays as it is."""
    state = observe(folder)
    if state is None or state["status"] == "ended":
        return state
    end = time.monotonic() + wait_s
    asked = False
    while time.monotonic() < end:
        asked = asked or ask_to_stop(folder, cause)
        state = observe(folder)
        if state is None or state["status"] == "ended":
            return state
        time.sleep(0.05)
    state["leftovers"] = _end_remains(folder, state)
    state = ended(state, "stopped", f"{cause}; the supervisor did not answer")
    write_state(folder, state)
    return state


def ask_to_stop(folder: Path, cause: str) -> bool:
    """Asks the supervisor of a run to end it; returns whether there was one to ask."""
    state = read_state(folder)
    keeper = supervisor_of(state) if state else None
    if keeper is None or not processes.is_alive(keeper):
        return False
    request_stop(folder, cause)
    try:
        os.kill(keeper.pid, signal.SIGTERM)
    except ProcessLookupError:
        return False
    return True


def stop_runs(base: Path, run: str, cause: str) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Stops ``run``, or all runs below a host directory; returns the ids of those that ran, and all states.

    All are asked before the first is waited for.
    """
    keys = [run] if run else runs_below(base)
    states = {key: observe(run_dir(base, key)) for key in keys}
    running = [key for key, state in states.items() if state is not None and state["status"] != "ended"]
    for key in running:
        ask_to_stop(run_dir(base, key), cause)
    states.update({key: stop(run_dir(base, key), cause) for key in running})
    return running, {key: state for key, state in states.items() if state is not None}


def _end_remains(folder: Path, state: dict[str, Any]) -> list[str]:
    """Ends what is left of a run without a supervisor, its container first; returns what did not go."""
    launch = read_json(folder / "launch.json") or {}
    left = container.end_run(launch["container"]) if launch.get("container") else []
    pids = end_marked(state["run_id"], state["host"], state["run"])
    return [*left, *(processes.describe(pid) for pid in pids)]


def end_marked(run_id: str, host: str, run: str | None = None) -> list[int]:
    """Ends every process that carries the marks of this session on this host; returns what did not go."""
    marks = {"DEEPEP_RUN_ID": run_id, "DEEPEP_HOST": host}
    if run is not None:
        marks["DEEPEP_RUN"] = run
    return processes.end_all(lambda: processes.with_environment(marks), GRACE_S)


def runs_below(base: Path) -> list[str]:
    """Returns the ids of the runs that were started below a host directory, sorted."""
    root = base / "runs"
    # What programs write beside it may come and go.
    found = (path.parent for path in below(root) if path.name == "launch.json")
    return sorted(folder.relative_to(root).as_posix() for folder in found)
