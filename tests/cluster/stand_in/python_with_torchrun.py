#!/usr/bin/python3
"""A stand-in for an interpreter that has torch, to be named in ``deepep_python``. It measures nothing.

Asked for torch (``-c``), it says that it is a stand-in. Asked for torchrun (``-m torch.distributed.run``), it
plays launcher and the host's one rank: rank 0 listens at the meeting point, the others connect, and all go
through the benchmark's phases in step over TCP. In the end it writes invented records in the right shape
(``tests/judge/tree.py``), which say so. Like a program that is not this project's, its ranks do not watch
each other: a silent peer is noticed at the process group's timeout alone.

``STAND_IN`` in its environment has words ``HOST:PHASE:WORD[=VALUE]``, host ``*`` for all: ``sleep=S``,
``exit=N``, ``hang``, ``eat`` (memory, until something gives), ``write=MIB`` (a file in the run's directory),
``lasts=S`` (so long does phase timing take; 1 s otherwise).
"""

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[3]
PHASES = ("rendezvous", "prepare", "check_before", "timing", "check_after", "write", "close", "done")
STEP_S = 0.2
NOTICE_S = 1.0
"""So long a rank takes to end after it noticed that another one is gone, as real programs do."""


def say(text: str) -> None:
    """Writes a line as ranks do."""
    print(f"[rank {RANK}] {text}", file=sys.stderr, flush=True)


def leave(text: str) -> None:
    """Ends because of another rank."""
    say(text)
    time.sleep(NOTICE_S)
    sys.exit(1)


class Ring:
    """All ranks connected with rank 0."""

    def __init__(self, size: int, address: str, port: int, meet_s: float, answer_s: float) -> None:
        self.size = size
        self.hosts = [HOST]
        self.peers: list[socket.socket] = []
        end = time.monotonic() + meet_s
        if RANK == 0:
            self._listen(size, port, end, answer_s)
        else:
            self._join(address, port, end, answer_s)

    def _listen(self, size: int, port: int, end: float, answer_s: float) -> None:
        names = {}
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # As torch says it.
            try:
                server.bind(("", port))
            except OSError as error:
                say(
                    f"RuntimeError: The server socket has failed to listen on any local network address. "
                    f"port: {port}, code: -98, name: EADDRINUSE, message: address already in use ({error})"
                )
                sys.exit(1)
            server.listen(size)
            while len(names) < size - 1:
                server.settimeout(max(0.01, end - time.monotonic()))
                try:
                    peer, _ = server.accept()
                except TimeoutError:
                    leave(f"timed out waiting for {size - 1 - len(names)} of {size} ranks at port {port}")
                peer.settimeout(answer_s)
                rank, name = json.loads(receive(peer))
                names[rank] = (name, peer)
        for rank in sorted(names):
            self.hosts.append(names[rank][0])
            self.peers.append(names[rank][1])

    def _join(self, address: str, port: int, end: float, answer_s: float) -> None:
        while True:
            try:
                peer = socket.create_connection((address, port), 2)
                break
            except OSError as error:
                if time.monotonic() > end:
                    leave(f"timed out connecting to {address}:{port}: {error}")
                time.sleep(0.2)
        peer.settimeout(answer_s)
        peer.sendall(json.dumps([RANK, HOST]).encode() + b"\n")
        self.peers.append(peer)

    def step(self, word: str) -> str:
        """Waits for everybody; returns rank 0's word."""
        for index, peer in enumerate(self.peers):
            if RANK:
                self._send(peer, 0, "-")
            else:
                self._receive(peer, index + 1)
        for index, peer in enumerate(self.peers):
            if RANK:
                word = self._receive(peer, 0)
            else:
                self._send(peer, index + 1, word)
        return word

    def _send(self, peer: socket.socket, rank: int, word: str) -> None:
        try:
            peer.sendall(word.encode() + b"\n")
        except OSError as error:
            leave(f"the connection with rank {rank} broke: {error}")

    def _receive(self, peer: socket.socket, rank: int) -> str:
        try:
            word = receive(peer)
        except TimeoutError:
            leave(f"timed out waiting for rank {rank}")
        except OSError as error:
            leave(f"the connection with rank {rank} broke: {error}")
        if not word:
            leave(f"the connection with rank {rank} broke: it is closed")
        return word


def receive(peer: socket.socket) -> str:
    """Returns one line, "" at the end."""
    data = b""
    while not data.endswith(b"\n"):
        piece = peer.recv(1)
        if not piece:
            return ""
        data += piece
    return data.decode().rstrip("\n")


def words(phase: str) -> "list[tuple[str, str]]":
    """Returns what is to be done here in a phase."""
    found = []
    for entry in os.environ.get("STAND_IN", "").split():
        host, where, word = entry.split(":")
        if host in ("*", HOST) and where == phase:
            name, _, value = word.partition("=")
            found.append((name, value))
    return found


def enter(phase: str, folder: Path) -> float:
    """Shows the phase and does what is asked for in it; returns how long it lasts, in s."""
    fresh = folder / "progress.new"
    shown = {"phase": phase, "operation": "dispatch" if phase == "timing" else None, "done": 0, "total": 1}
    fresh.write_text(json.dumps(shown))
    fresh.replace(folder / "progress.json")
    say(f"phase {phase}")
    lasts = 0.0
    for name, value in words(phase):
        if name == "sleep":
            time.sleep(float(value))
        elif name == "exit":
            say(f"RuntimeError: STAND_IN asked to end with {value}")
            os._exit(int(value))
        elif name == "hang":
            while True:
                time.sleep(60)
        elif name == "eat":
            eaten = []
            while True:
                eaten.append(b"x" * (16 << 20))
        elif name == "write":
            (folder / "traces").mkdir(exist_ok=True)
            (folder / "traces" / f"noise-{HOST}.bin").write_bytes(os.urandom(int(value) << 20))
        elif name == "lasts":
            lasts = float(value)
        else:
            sys.exit(f"unknown word {name}")
    return lasts


def option(name: str) -> str:
    """Returns the value of ``--name=value``."""
    return next(word.split("=", 1)[1] for word in sys.argv if word.startswith(f"--{name}="))


def read_config(path: str) -> "dict[str, Any]":
    """Returns config.yaml, one ``key: JSON`` a line."""
    lines = Path(path).read_text().splitlines()
    return {key: json.loads(value) for key, value in (line.split(": ", 1) for line in lines)}


def write_records(folder: Path, config: "dict[str, Any]", hosts: "list[str]") -> None:
    """Writes what the judge expects of this host's rank, and of all on rank 0. The figures are invented."""
    sys.path.insert(0, str(REPOSITORY))
    from tests.judge import tree

    run = tree.make_run(hosts=hosts, ranks_per_host=1, mode=config["mode"], backend=config["backend"])
    run["config"] = config
    tree.write(
        folder / f"ranks/rank-{RANK:04d}.json",
        {"schema": 1, "rank": RANK, "host": HOST, "local_rank": 0, "times": {}},
    )
    if RANK == 0:
        records = [tree.make_record(run, name) for name in ("dispatch", "combine")]
        for record in records:
            record["notes"] = ["invented by a stand-in"]
            record["num_iterations"] = config["num_iterations"]
        name = f"benchmark_{len(hosts)}_ranks_{os.environ['DEEPEP_STAMP']}_{config['mode']}"
        for record in records:
            record["result_dir"] = f"results/{name}"
        tree.write(folder / "results" / name / "results.json", records)
        for matrix in ("token_matrix.txt", "token_matrix_kb.txt"):
            tree.write(folder / "results" / name / matrix, "# invented by a stand-in\n")


def write_marker(folder: Path, size: int) -> None:
    """Says that the program came to its end here."""
    marker = {"host": HOST, "world_size": size, "ranks": [RANK], "completed": True}
    (folder / "markers").mkdir(exist_ok=True)
    (folder / "markers" / f"{HOST}.json").write_text(json.dumps(marker))


def main() -> None:
    """Goes through all phases."""
    folder, config = Path(option("output-dir")), read_config(option("config"))
    size = int(option("nnodes"))
    meet_s = float(option("rdzv-conf").split("timeout=")[1])
    enter("rendezvous", folder)
    ring = Ring(
        size,
        option("master-addr"),
        int(option("master-port")),
        meet_s,
        float(config["process_group_timeout_s"]),
    )
    for phase in PHASES[1:]:
        end = time.monotonic() + enter(phase, folder)
        if phase == "write":
            write_records(folder, config, ring.hosts)
        if phase == "close":
            write_marker(folder, size)
        while ring.step("on" if time.monotonic() < end else "next") == "on":
            time.sleep(STEP_S)
    say("done")


if __name__ == "__main__":
    if sys.argv[1:2] == ["-c"]:
        version = "none (a stand-in)"
        if "@image@" in sys.argv[2]:
            # What preflight asks in a container.
            torch = {"version": version, "cuda": None, "gpus": 0}
            asked = {"python": sys.version.split()[0], "torch": torch, "commands": [], "files": []}
            print("\n@image@" + json.dumps(asked))
        else:
            torch = {"version": version, "cuda_build": None, "cuda_available": False, "gpus": 0, "nccl": None}
            print("@torch@" + json.dumps(torch))
        sys.exit(0)
    if sys.argv[1:3] != ["-m", "torch.distributed.run"]:
        os.execv("/usr/bin/python3", ["python3", *sys.argv[1:]])
    RANK, HOST = int(option("node-rank")), os.environ["DEEPEP_HOST"]
    main()
