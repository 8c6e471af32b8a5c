"""Runs the benchmark program for real: torchrun agents as on hosts, here all on 127.0.0.1."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.resources import host_code
from tests.bench_program.processes import Process, Starter

host_code()

from deepep_host import rendezvous  # noqa: E402

REPO = Path(__file__).resolve().parent.parent.parent
PROGRAM = REPO / "roles" / "deepep_run" / "files" / "deepep_bench"
SMALL = {
    "tokens": 24,
    "num_experts": 16,
    "num_topk": 4,
    "hidden_size": 512,
    "data_type": "bfloat16",
    "mode": "standard",
    "backend": "gloo",
    "num_warmups": 1,
    "num_iterations": 3,
    "seed": 7,
}
# a hang of the program must not hang the tests; far above what any run needs
_GIVE_UP_S = 180


@dataclass(frozen=True)
class Finished:
    """What came of a run. outputs: stdout and stderr of each host, in node order."""

    codes: list[int]
    outputs: list[str]
    folders: list[Path]

    @property
    def text(self) -> str:
        return "\n".join(self.outputs)

    def records(self) -> list[dict[str, Any]]:
        [path] = self.folders[0].glob("results/*/results.json")
        loaded: list[dict[str, Any]] = json.loads(path.read_text())
        return loaded


def write_config(path: Path, **changes: Any) -> Path:
    values = {**SMALL, **changes}
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items()))
    return path


def free_port() -> int:
    """A port that the kernel gives to nobody in the meantime, where its range leaves one."""
    return rendezvous.free_port()


def start(
    starter: Starter,
    folder: Path,
    hosts: int,
    ranks_per_host: int,
    environment: Mapping[str, str],
    arguments: Sequence[str] = (),
    of_host: Mapping[int, Mapping[str, Any]] | None = None,
    profiler: Sequence[str] = (),
    **config: Any,
) -> list[Process]:
    """One torchrun agent per host; their output goes to <folder>/<host>.txt. of_host: what differs there.
    profiler: words that start each rank; RUN_DIR in them is the host's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    agents = []
    for node in range(hosts):
        host = f"node{node}"
        (folder / host).mkdir()
        mine = {**config, **(of_host or {}).get(node, {})}
        config_file = write_config(folder / host / "config.yaml", **mine)
        command = [
            f"--nnodes={hosts}", f"--nproc-per-node={ranks_per_host}", f"--node-rank={node}",
            "--master-addr=127.0.0.1", f"--master-port={port}", "--rdzv-backend=static",
            "--rdzv-conf=timeout=60", "--max-restarts=0", "--monitor-interval=0.5",
            *profiler, str(PROGRAM), f"--config={config_file}", f"--output-dir={folder / host}", *arguments,
        ]  # fmt: skip
        given = {
            **clean_environment(),
            "DEEPEP_HOST": host,
            "DEEPEP_STAMP": "20260102_030405",
            **environment,
        }
        command = [word.replace("RUN_DIR", str(folder / host)) for word in command]
        agents.append(starter.start("torchrun", command, given, folder / f"{host}.txt"))
    return agents


def clean_environment() -> dict[str, str]:
    """This process's, less what other runs left there."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DEEPEP_", "TORCHELASTIC_"))}
    return {**kept, "OMP_NUM_THREADS": "1"}


def finish(agents: list[Process], folder: Path) -> Finished:
    """Wait for all agents."""
    try:
        codes = [agent.wait(timeout=_GIVE_UP_S) for agent in agents]
    finally:
        for agent in agents:
            if agent.poll() is None:
                agent.kill()
    hosts = [folder / f"node{node}" for node in range(len(agents))]
    return Finished(codes, [host.with_suffix(".txt").read_text() for host in hosts], hosts)


def run(
    starter: Starter,
    folder: Path,
    hosts: int = 1,
    ranks_per_host: int = 2,
    fault: str = "",
    arguments: Sequence[str] = (),
    profiler: Sequence[str] = (),
    **config: Any,
) -> Finished:
    environment = {"DEEPEP_BENCH_FAULT": fault} if fault else {}
    return finish(
        start(starter, folder, hosts, ranks_per_host, environment, arguments, None, profiler, **config),
        folder,
    )
