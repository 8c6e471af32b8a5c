"""Puts what came from the hosts where the result tree has it, and writes the files that span all hosts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from .files import read_json, write_json, write_text
from .pack import TRANSIENT
from .session import Session
from .toml_writer import dumps

# Names below a run's directory on the host that belong to all hosts alike: same relative path in the tree.
_SHARED = ("results/", "ranks/", "markers/", "traces/")
LEFT_OUT = "left_out.json"


def target_of(name: str, host: str) -> str | None:
    """Returns where a file of a host's run directory belongs in the run's directory; None for none."""
    if name in TRANSIENT:
        return None
    if name == "state.json":
        return f"logs/{host}.state.json"
    if name == "metadata.toml":
        return f"metadata/node-{host}.toml"
    if name in ("config.yaml", "env_vars.sh") or name.startswith(_SHARED):
        return name
    if name.startswith("logs/"):
        return f"logs/{host}.{name[len('logs/') :]}"
    return f"files/{host}/{name}"


def distribute(incoming: Path, names: list[str], run_dir: Path, host: str, head: bool) -> list[str]:
    """Moves a host's unpacked files to their places; returns the relative paths.

    Where two hosts wrote the same path, the head's file stays and the other's goes below ``files/<host>/``.
    What is not here any more was placed before an interruption.
    """
    placed: list[str] = []
    for name in sorted(names):
        target = target_of(name, host)
        if target is None:
            continue
        own = f"logs/{host}.{name}" if name in ("config.yaml", "env_vars.sh") else f"files/{host}/{name}"
        if not (incoming / name).is_file():
            placed.append(target)
            continue
        if not head and target == name and (run_dir / target).exists():
            target = own
        try:
            _move(incoming / name, run_dir / target)
        except OSError:
            # Another host has a directory where this one has a file, or the other way round.
            target = own
            _move(incoming / name, run_dir / target)
        placed.append(target)
    return placed


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def finish_run(session: Session, key: str) -> None:
    """Writes the files of a run that span its hosts: launch, job, test, hosts, joined logs."""
    run = session.run(key)
    folder = session.run_dir(key)
    hosts = [host["name"] for host in sorted(run["hosts"], key=lambda host: int(host["node_rank"]))]
    write_text(folder / "hostfile.txt", "".join(host + "\n" for host in hosts))
    write_text(folder / "test-run.toml", dumps(_test_run(session, run, hosts)))
    launch = _launch(session, run, hosts)
    if session.skipped(key) is None:
        write_json(folder / "launch.json", launch)
    states = {host: _state(session, key, host) for host in hosts}
    write_text(folder / "job.toml", dumps(_job(session, run, hosts, states, launch)))
    if session.skipped(key) is None:
        for kind in ("stdout", "stderr"):
            _join(folder, hosts, kind)
    left_out = {host: found for host in hosts if (found := _left_out(session, key, host))}
    if left_out:
        write_json(folder / LEFT_OUT, {"schema": 1, "hosts": left_out})
    elif (folder / LEFT_OUT).exists():
        (folder / LEFT_OUT).unlink()


def _left_out(session: Session, key: str, host: str) -> list[dict[str, Any]]:
    """Returns the files of a host that were not fetched: path in the tree, bytes, why."""
    note = session.note(key, "collected-" + host) or {}
    return list(note.get("left_out") or ())


def _state(session: Session, key: str, host: str) -> dict[str, Any]:
    """Returns the host's own last state, else what the controller saw last, and leaves it in logs/."""
    path = session.run_dir(key) / "logs" / f"{host}.state.json"
    own = read_json(path)
    seen = session.host_state(key, host)
    if own is not None and own.get("status") == "ended":
        return own
    if seen is None:
        return own or {}
    # The host cannot tell any more how it ended: the controller's view completes its own.
    state = {**(own or {}), **{name: value for name, value in seen.items() if value is not None}}
    write_json(path, state)
    return state


def _test_run(session: Session, run: Mapping[str, Any], hosts: list[str]) -> dict[str, Any]:
    command = " ".join(_show(argument) for argument in run["argv"])
    return {
        "name": run["entry"],
        "test_name": run["test_name"],
        "description": run.get("description"),
        "nnodes": len(hosts),
        "nodes": hosts,
        "output_path": str(session.run_dir(run["id"])),
        "current_iteration": run["iteration"],
        "step": run.get("step"),
        "sweep": run.get("sweep") or None,
        "time_limit_s": run["time_limit_s"],
        "test_cmd": command,
        "full_cmd": command,
        "test_definition": run.get("test_definition") or {},
    }


def _show(argument: Any) -> str:
    if isinstance(argument, str):
        return argument
    if "var" in argument:
        return "<" + str(argument["var"]) + ">"
    return "".join(_show(part) for part in argument["join"])


def _launch(session: Session, run: Mapping[str, Any], hosts: list[str]) -> dict[str, Any]:
    meeting = session.note(run["id"], "rendezvous") or {}
    return {
        "schema": 1,
        "run_id": session.run_id,
        "run": run["id"],
        "launcher": session.plan().get("launcher", "ssh"),
        "container_runtime": run["container_runtime"],
        "master_addr": meeting.get("master_addr"),
        "master_port": meeting.get("master_port"),
        "attempt": meeting.get("attempt"),
        "world_size": run["world_size"],
        "hosts": {host: session.note(run["id"], "launch-" + host) for host in hosts},
    }


def _job(
    session: Session,
    run: Mapping[str, Any],
    hosts: list[str],
    states: Mapping[str, Mapping[str, Any]],
    launch: Mapping[str, Any],
) -> dict[str, Any]:
    skipped = session.skipped(run["id"])
    first_at, first_host = first_failure(states)
    started = sorted(str(state["started_at"]) for state in states.values() if state.get("started_at"))
    ends = sorted(str(state["ended_at"]) for state in states.values() if state.get("ended_at"))
    facts = read_json(session.run_dir(run["id"]) / "logs" / "slurm-job.json") or {}
    slurm_nodes: dict[str, str] = facts.get("hosts") or {}
    tables = []
    for rank, host in enumerate(hosts):
        state = states[host]
        tables.append(
            {
                "name": host,
                "node_rank": rank,
                "slurm_node": slurm_nodes.get(host),
                **{
                    name: state.get(name)
                    for name in (
                        "status", "phase", "outcome", "exit_code", "cause", "started_at", "deadline_at",
                        "compile_s", "ended_at", "elapsed_s", "first_failure_at", "pid", "boot_id",
                    )
                },
                "leftovers": [str(left) for left in state.get("leftovers") or ()],
                "collected": bool((session.note(run["id"], "collected-" + host) or {}).get("complete")),
                "image_id": (session.note(run["id"], "image-" + host) or {}).get("id"),
                "image_digest": (session.note(run["id"], "image-" + host) or {}).get("digest"),
            }
        )  # fmt: skip
    return {
        "run_id": session.run_id,
        "run": run["id"],
        "name": run["entry"],
        "launcher": launch["launcher"],
        "state": job_state(states, skipped is not None),
        **_slurm(session, run["id"]),
        "not_run_reason": skipped["reason"] if skipped else None,
        "not_run_because": skipped.get("because") if skipped else None,
        "start_time": started[0] if started else None,
        "end_time": ends[-1] if ends else None,
        "elapsed_time_sec": max(
            (float(state.get("elapsed_s") or 0) for state in states.values()), default=0.0
        ),
        "time_limit_s": run["time_limit_s"],
        "exit_code": max((abs(int(state.get("exit_code") or 0)) for state in states.values()), default=0),
        "master_addr": launch["master_addr"],
        "master_port": launch["master_port"],
        "first_failure_host": first_host,
        "first_failure_at": first_at,
        "first_failure_cause": states[first_host].get("cause") if first_host else None,
        "hosts": tables,
    }


def _slurm(session: Session, key: str) -> dict[str, Any]:
    """Returns Slurm's own words about the run's job, {} over SSH."""
    facts = read_json(session.run_dir(key) / "logs" / "slurm-job.json")
    names = ("job_id", "state", "exit_code", "source", "nodes", "submitted_at", "waited_s")
    return {f"slurm_{name}": facts.get(name) for name in names} if facts else {}


def first_failure(states: Mapping[str, Mapping[str, Any]]) -> tuple[str | None, str | None]:
    """Returns time and host of the first failure by the hosts' own clocks, (None, None) without one."""
    failures = sorted((str(state["first_failure_at"]), host) for host, state in states.items()
                      if state.get("first_failure_at"))  # fmt: skip
    return failures[0] if failures else (None, None)


def job_state(states: Mapping[str, Mapping[str, Any]], skipped: bool) -> str:
    """Returns the state of the whole job in Slurm's words where it has them."""
    if skipped:
        return "NOT_RUN"
    outcomes = {state.get("outcome") for state in states.values()}
    if outcomes == {"exited"} and all(state.get("exit_code") == 0 for state in states.values()):
        return "COMPLETED"
    for outcome, word in (("timeout", "TIMEOUT"), ("lost", "NODE_FAIL"), ("start_failed", "BOOT_FAIL")):
        if outcome in outcomes:
            return word
    if outcomes <= {"stopped", None} or (
        outcomes <= {"stopped", "exited"} and first_failure(states)[0] is None
    ):
        return "CANCELLED"
    return "FAILED"


def _join(folder: Path, hosts: list[str], kind: str) -> None:
    """Joins the logs of one kind, each line with its host in front, hosts in order of their rank."""
    fresh = folder / f"{kind}.txt.new"
    with fresh.open("wb") as out:
        for host in hosts:
            path = folder / "logs" / f"{host}.{kind}.txt"
            if path.is_file():
                _prefix(path, f"[{host}] ".encode(), out)
    fresh.replace(folder / f"{kind}.txt")


def _prefix(path: Path, prefix: bytes, out: IO[bytes]) -> None:
    with path.open("rb") as stream:
        for line in stream:
            out.write(prefix + (line if line.endswith(b"\n") else line + b"\n"))
