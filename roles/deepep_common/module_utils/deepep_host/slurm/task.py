"""What the job script starts on the compute hosts: find a meeting point, hold the run, hand over its files.

``run`` is the same supervisor as over SSH, in the foreground of a job step: same state.json, same logs.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import cleanup, control, credentials, images, metadata, reference, registry, supervisor
from ..files import below, read_json, safe_relative, write_json
from ..image import enroot
from ..launch import LaunchError
from ..rendezvous import RendezvousError, free_port, interface_address, route_source
from ..state import default_work_dir, ended, ensure_work_dir, new_state, read_state, run_dir, write_state
from . import inside, leftovers, query
from .job import Member, NotInPlan, members, slice_of

SETTLE_S = 3.0
"""How long the other hosts may take to notice by themselves that one failed, before they are stopped."""

LIMIT_NEAR_S = 90.0
"""A request to end comes from the job's limit if that is so near: Slurm tells the script 60 s before."""

FAILED, TIMED_OUT, UNUSABLE = 1, 124, 2


def main(arguments: Sequence[str]) -> int:
    """Runs one of the commands; returns the exit status of the job step's task."""
    parser = argparse.ArgumentParser(prog="slurm_task.py")
    parser.add_argument("command", choices=("meet", "run", "pack", "look", "remove", "import"))
    parser.add_argument("--plan", type=Path, help="plan.json, or the part of it that the job needs")
    parser.add_argument("--run", default="", help="id of the run; with remove, ids with commas")
    parser.add_argument("--session", default="", help="id of the session")
    parser.add_argument("--stamp", default="", help="time of the session, for the results' directory")
    parser.add_argument("--base", type=Path, required=True, help="the session's directory on this host")
    parser.add_argument("--work-dir", type=Path, help="directory of all sessions, made for this user alone")
    parser.add_argument("--nodes", default="", help="the allocated nodes in Slurm's order, with commas")
    parser.add_argument(
        "--left", default="", help="time left to the job's limit at its start, as squeue says it"
    )
    parser.add_argument("--meet", default="", help="ADDRESS:PORT at which the ranks meet")
    given = parser.parse_args(arguments)
    try:
        return COMMANDS[given.command](given)
    except (NotInPlan, RendezvousError, LaunchError, OSError, ValueError, KeyError) as error:
        print(f"deepep: {node_name()}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return UNUSABLE


def node_name() -> str:
    """Returns this host's name in Slurm."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def meet(given: argparse.Namespace) -> int:
    """Prints ADDRESS:PORT of this host for the ranks to meet at: chosen once, for all hosts of the job."""
    plan, spec = _plan(given)
    hosts = members(plan, spec, _allocated(given))
    interface = spec.get("master_interface")
    if interface:
        address = interface_address(interface)
    elif len(hosts) == 1:
        address = "127.0.0.1"
    else:
        address = _own_address()
    print(f"{address}:{free_port()}", flush=True)
    return 0


def _own_address() -> str:
    """Returns the address by which Slurm reaches this host, else the one from which it leaves."""
    done = query.call(["scontrol", "--oneliner", "show", "node", node_name()])
    for name in (query.read_pairs(done.out).get("NodeAddr"), node_name(), socket.gethostname()):
        try:
            address = socket.gethostbyname(name) if name else ""
        except OSError:
            continue
        if address and not address.startswith("127."):
            return address
    address = route_source() or ""
    if not address:
        raise RendezvousError("this host has no address that others could reach: set deepep_master_interface")
    return address


def run(given: argparse.Namespace) -> int:
    """Holds the run on this host to its end; 0 only where the program ended with 0."""
    plan, spec = _plan(given)
    hosts = members(plan, spec, _allocated(given))
    me = _me(hosts)
    base = given.base / me.name
    folder = run_dir(base, given.run)
    if given.work_dir:
        ensure_work_dir(given.work_dir)
        leftovers.note_job(given.base)
        leftovers.sweep_host(given.work_dir, given.base)
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = read_state(folder)
    if before is not None:
        print(f"[{me.name}] was started before ({before['status']}): a run is never repeated in its place")
        return UNUSABLE
    facts = plan["slurm"]["nodes"].get(me.name) or {}
    python = facts.get("python") or "python3"
    _describe(base, me, python, spec["container_runtime"] == "none")
    mine = slice_of(plan, spec, hosts, me.name, given.session, given.stamp)
    program = base / "program"
    if not program.is_symlink():
        program.symlink_to(Path(sys.argv[0]).resolve().parent, target_is_directory=True)
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    for stream in ("stdout", "stderr"):
        (folder / "logs" / f"{stream}.txt").touch()
    write_state(folder, new_state(given.session, given.run, me.name))
    address, _, port = given.meet.rpartition(":")
    own = mine["runs"][given.run]
    contained = spec["container_runtime"] == "enroot"
    pyxis = contained and bool(spec["slurm"]["pyxis"])
    mounts = inside.own_mounts(own["mounts"], folder) if pyxis else []
    if contained:
        # The file that an import job made, or that the scenario names.
        file = spec["slurm"]["image_file"]
        digest = (images.find(given.plan.parent, spec["image"]) or {}).get("digest")
        if pyxis:
            own = inside.unpacked(own, folder, file, digest, python)
        else:
            entry = {"runtime": "enroot", "id": file, "digest": digest, "file": file}
            images.put(base, spec["image"], entry)
    try:
        # The lock is this host's own affair: file locks on shared file systems are not to be relied on.
        control.prepare(
            mine, own, base, folder, default_work_dir(), address, int(port), python
        )  # fmt: skip
        inside.bring_in(mounts)
    except (LaunchError, ValueError) as error:
        write_state(folder, ended(new_state(given.session, given.run, me.name), "start_failed", str(error)))
        print(f"[{me.name}] {error}", flush=True)
        return _fail(UNUSABLE)
    state = _hold(folder, query.seconds(given.left))
    inside.bring_out(mounts)
    cleanup.remove_empty(default_work_dir(), me.name)
    print(f"[{me.name}] {state['outcome']}"
          + (f" {state['exit_code']}" if state["exit_code"] is not None else "")
          + (f": {state['cause']}" if state["cause"] else ""), flush=True)  # fmt: skip
    if state["outcome"] == "exited" and state["exit_code"] == 0:
        return 0
    return _fail(
        TIMED_OUT if state["outcome"] == "timeout" else FAILED, stop_peers=state["outcome"] != "stopped"
    )


def _hold(folder: Path, left_s: int) -> dict[str, Any]:
    """Runs guardian and supervisor here, with their words in logs/supervisor.txt; returns the last state.

    SIGURG asks them to end the run. Slurm sends a signal to every process of a step, and this is one that
    programs do not notice.
    """
    limit = time.monotonic() + left_s - LIMIT_NEAR_S if left_s else float("inf")

    def asked(number: int, frame: object) -> None:
        if time.monotonic() >= limit:
            supervisor.request_stop(folder, "the job's time limit in Slurm was near", outcome="timeout")
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGURG, asked)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(2)
    with (folder / "logs" / "supervisor.txt").open("ab") as output:
        os.dup2(output.fileno(), 2)
    try:
        supervisor.main([str(folder)])
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGURG):
            signal.signal(number, signal.SIG_IGN)
    state = read_state(folder)
    if state is None:
        raise OSError(f"{folder}/state.json is gone")
    return state


def _fail(code: int, stop_peers: bool = True) -> int:
    """Gives the other hosts a moment to notice, then has Slurm end what still runs of this step there."""
    job, step = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_STEP_ID")
    if stop_peers and job and step and os.environ.get("SLURM_STEP_NUM_NODES", "1") != "1":
        time.sleep(SETTLE_S)
        subprocess.run(  # noqa: S603 - Slurm's command, our own ids
            ["scancel", "--signal=URG", f"{job}.{step}"],  # noqa: S607
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    return code


def _describe(base: Path, me: Member, python: str, bare: bool) -> None:
    path = base / "metadata.json"
    if path.exists():
        return
    torch = metadata.ask_torch(python) if bare else {}
    tables = metadata.collect(me.name, python, torch)
    tables["host"]["slurm_node"] = me.node
    write_json(path, tables)


def pack(given: argparse.Namespace) -> int:
    """Hands over the run's directory on this host."""
    return _hand_over(given, None)


def look(given: argparse.Namespace) -> int:
    """Hands over state and logs of a run that may still be under way."""
    return _hand_over(given, ("state.json", "logs/stdout.txt", "logs/stderr.txt"))


def _hand_over(given: argparse.Namespace, names: Sequence[str] | None) -> int:
    """Writes files to stdout as tar.gz in base64, with names ``HOST/runs/...``: srun carries lines only."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for host in leftovers.hosts_below(given.base):
            folder = run_dir(host, given.run)
            found = sorted(below(folder)) if names is None else [folder / name for name in names]
            for path in found:
                if path.is_file() and not path.is_symlink():
                    archive.add(path, path.relative_to(given.base).as_posix(), recursive=False)
    sys.stdout.write(base64.encodebytes(packed.getvalue()).decode("ascii"))
    sys.stdout.flush()
    return 0


def remove(given: argparse.Namespace) -> int:
    """Removes runs that were fetched from this host's own disk."""
    leftovers.forget(given.base, [safe_relative(run) for run in given.run.split(",") if run])
    return 0


def import_image(given: argparse.Namespace) -> int:
    """Makes an image's squashfs file, as standard input says (JSON, with credentials); says its digest.

    Written beside and renamed: a file of that name is whole, and a note beside it has its digest. With
    ``keep`` the registry is not asked as long as they are there.
    """
    told = json.loads(sys.stdin.read())
    target = Path(told["target"])
    note = target.with_name(target.name + ".json")
    known = (read_json(note) or {}) if target.is_file() else {}
    if told["keep"] and known.get("digest"):
        print(json.dumps({"digest": known["digest"]}), flush=True)
        return 0
    image = reference.parse(told["reference"])
    login = registry.Login(**told["login"])
    client = registry.Client(image.host, login)
    try:
        digest = client.manifest(image).digest
        if known.get("digest") != digest:
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh = target.with_name(f".{target.name}.{given.session}")
            limit = float(told["timeout_s"])
            enroot.import_image(image, login, client.auth_host, given.session, fresh, limit)
            fresh.replace(target)
            write_json(note, {"reference": told["reference"], "digest": digest, "runtime": "enroot"})
    except (registry.RegistryError, enroot.EnrootError, credentials.CredentialError) as error:
        print(json.dumps({"problem": str(error)}), flush=True)
        return FAILED
    print(json.dumps({"digest": digest}), flush=True)
    return 0


def _plan(given: argparse.Namespace) -> tuple[dict[str, Any], Mapping[str, Any]]:
    plan = read_json(given.plan)
    if plan is None:
        raise NotInPlan(f"{given.plan} is missing or damaged")
    safe_relative(given.run)
    for one in plan["runs"]:
        if one["id"] == given.run:
            return plan, one
    raise NotInPlan(f"the plan has no run {given.run!r}")


def _allocated(given: argparse.Namespace) -> list[str]:
    return [name for name in given.nodes.split(",") if name]


def _me(hosts: Sequence[Member]) -> Member:
    mine = node_name()
    for member in hosts:
        if member.node == mine:
            return member
    raise NotInPlan(f"{mine} has no part in this run")


COMMANDS = {
    "meet": meet, "run": run, "pack": pack, "look": look, "remove": remove, "import": import_image,
}  # fmt: skip
