"""Builds made-up result trees in the shape of real ones, for tests that break one thing at a time.

Every figure here is invented; trees of real runs are made by the end-to-end tests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

STAMP = "20260102_030405"

ONE_MACHINE = "the controller"


def make_run(
    run_id: str = "Tests.1/0",
    *,
    hosts: Sequence[str] = ("node1", "node2"),
    ranks_per_host: int = 2,
    mode: str = "standard",
    backend: str = "gloo",
    program: str = "bundled",
    after: Sequence[dict[str, str]] = (),
    sweep: dict[str, Any] | None = None,
    traces: int = 0,
    description: str = "A made-up run",
) -> dict[str, Any]:
    """Returns one run as plan.json has it."""
    parts = run_id.split("/")
    world_size = len(hosts) * ranks_per_host
    config: dict[str, Any] = {
        "tokens": 128,
        "num_experts": 8,
        "num_topk": 2,
        "hidden_size": 256,
        "data_type": "bfloat16",
        "allow_nvlink_for_low_latency": False,
        "allow_mnnvl": False,
        "round_scale": False,
        "use_ue8m0": False,
        "shuffle_columns": False,
        "use_kineto_profiler": traces > 0,
        "num_warmups": 2,
        "num_iterations": 5,
    }
    if program == "bundled":
        config |= {"mode": mode, "backend": backend, "seed": 1, "process_group_timeout_s": 120}
    return {
        "id": run_id,
        "entry": parts[0],
        "iteration": int(parts[1]),
        "step": int(parts[2]) if len(parts) > 2 else None,
        "sweep": sweep or {},
        "test_name": "deepep_standard",
        "description": description,
        "template": "DeepEPBenchmark",
        "program": program,
        "backend": backend,
        "container_runtime": "none",
        "image": "registry.example#deepep:1",
        "hosts": [{"name": name, "node_rank": rank} for rank, name in enumerate(hosts)],
        "ranks_per_host": ranks_per_host,
        "world_size": world_size,
        "why_hosts": f"{len(hosts)} hosts of GAIA:standard_nodes in group order",
        "mode": mode,
        "config": config,
        "config_requested": {"num_iterations": 50},
        "env": {"OMP_NUM_THREADS": "1"},
        "argv": ["python", "-m", "torch.distributed.run"],
        "mounts": [],
        "master_interface": None,
        "time_limit_s": 1800,
        "rendezvous_timeout_s": 120,
        "process_group_timeout_s": 120,
        "after": list(after),
        "expect": {
            "operations": ["dispatch", "combine"],
            "world_size": world_size,
            "hosts": len(hosts),
            "files": ["results.json", "token_matrix.txt", "token_matrix_kb.txt"],
            "traces": traces,
        },
        "test_definition": {"name": "deepep_standard"},
    }


def make_plan(runs: Sequence[dict[str, Any]], name: str = "deepep-benchmark") -> dict[str, Any]:
    """Returns a plan with these runs."""
    hosts = {
        host["name"]: {"connection": "local", "groups": ["GAIA"], "one_machine": ONE_MACHINE}
        for run in runs
        for host in run["hosts"]
    }
    return {
        "schema": 1,
        "compiler_version": "0.1.0",
        "scenario": {"name": name, "description": None},
        "launcher": "ssh",
        "hosts": hosts,
        "runs": list(runs),
        "steps": [{"verb": verb, "run": run["id"]} for run in runs for verb in ("start", "await", "finish")],
        "warnings": [],
    }


def make_links(run: dict[str, Any], factor: Callable[[int, int], float]) -> dict[str, Any]:
    """Returns a links.json in which a link takes ``factor(sender, receiver)`` times as long."""
    ranks, per_host = range(run["world_size"]), run["ranks_per_host"]
    return {
        "schema": 1,
        "method": "made up",
        "group": "nccl",
        "bytes": 4_000_000,
        "repeats": 5,
        "hosts": [run["hosts"][rank // per_host]["name"] for rank in ranks],
        "time_s": [
            [None if s == d else 1e-4 * (1 + 0.01 * ((s * 7 + d) % 5)) * factor(s, d) for d in ranks]
            for s in ranks
        ],
    }


def make_record(run: dict[str, Any], operation: str) -> dict[str, Any]:
    """Returns one record of results.json that fits the run."""
    config = run["config"]
    time_s = {"dispatch": 0.004, "combine": 0.006}[operation]
    sent = 40_000_000
    per_rank = []
    for rank in range(run["world_size"]):
        host = run["hosts"][rank // run["ranks_per_host"]]["name"]
        mean = time_s * (1 - 0.02 * (rank % 3))
        per_rank.append(
            {
                "rank": rank,
                "host": host,
                "local_rank": rank % run["ranks_per_host"],
                "mean_s": mean,
                "median_s": mean,
                "min_s": mean * 0.9,
                "max_s": mean * 1.2,
                "bytes_sent": sent // run["world_size"],
                "bytes_received": sent // run["world_size"],
            }
        )
    return {
        "schema": 2,
        "global_bw": sent / time_s / 1e9,
        "deepep_time": time_s,
        "simple_rdma_bw": None,
        "simple_nvl_bw": None,
        "num_tokens": config["tokens"],
        "hidden": config["hidden_size"],
        "operation": operation,
        "variant": None,
        "mode": run["mode"],
        "backend": run["backend"],
        "program": "bundled",
        "data_type": config["data_type"],
        "num_ranks": run["world_size"],
        "num_hosts": len(run["hosts"]),
        "ranks_per_host": run["ranks_per_host"],
        "num_experts": config["num_experts"],
        "num_topk": config["num_topk"],
        "num_warmups": config["num_warmups"],
        "num_iterations": config["num_iterations"],
        "requested_num_iterations": run["config_requested"].get("num_iterations"),
        "requested_num_warmups": None,
        "total_time": time_s * config["num_iterations"],
        "kernel_time": None,
        "timing": "wall",
        "counting": None,
        "wire_nvl_bw": None,
        "wire_rdma_bw": None,
        "bytes": {"per_rank": [sent // run["world_size"]] * run["world_size"], "global": sent},
        "time_s": {
            "median": time_s,
            "mean": time_s * 1.01,
            "min": time_s * 0.95,
            "max": time_s * 1.1,
            "p50": time_s,
            "p90": time_s * 1.08,
            "p95": time_s * 1.09,
            "p99": time_s * 1.1,
            "iterations": [time_s * f for f in (0.95, 0.98, 1.0, 1.05, 1.1)],
        },
        "per_rank": per_rank,
        "correctness": {
            "before": True,
            "after": True,
            "reference": "made up",
            "max_abs_error": 0.0,
            "max_rel_error": 0.0,
            "tolerance": 0.0,
            "elements_checked": 65536,
        },
        "seed": 1,
        "shuffle_columns": False,
        "round_scale": False,
        "use_ue8m0": False,
        "num_sms": None,
        "num_qps_per_rank": None,
        "versions": {
            "python": "3.11.7",
            "torch": "2.13.0",
            "deep_ep": None,
            "cuda": None,
            "nccl": None,
            "nvshmem": None,
        },
        "timestamp": "2026-01-02T03:04:06Z",
        "result_dir": result_dir(run),
        "stand_in": run["backend"] == "gloo",
        "notes": [],
    }


def make_evidence(run: dict[str, Any]) -> dict[str, Any]:
    """Returns an evidence.json of a run on H100s that went well."""
    ranks = []
    for rank in range(run["world_size"]):
        local = rank % run["ranks_per_host"]
        host = run["hosts"][rank // run["ranks_per_host"]]["name"]
        found: dict[str, Any] = {
            "rank": rank,
            "host": host,
            "place": {"cpus": "0-7", "numa_node": 0},
            "libraries": {"libnccl": "/usr/lib/libnccl.so.2.28.9", "libcuda.so": "/usr/lib/libcuda.so.580.1"},
            "profiler": None,
        }
        if local == 0:
            gpus = [_gpu(host, number) for number in range(run["ranks_per_host"])]
            found["conditions"] = {"host": host, "gpus": gpus, "foreign_processes": [], "marks": []}
            counted = {"sent_bytes": 496_100_000_000, "received_bytes": 496_100_000_000}
            found["carried"] = {"nvlink": counted, "rdma": None, "used": ["nvlink"]}
            found["rdma_ports"] = [
                {"device": "mlx5_0", "port": "1", "state": state, "rate": "400 Gb/sec (4X NDR)",
                 "link_layer": "InfiniBand"} for state in ("ACTIVE", "DOWN")
            ]  # fmt: skip
            found["environment"] = {"NCCL_NVLS_ENABLE": "0", "NVSHMEM_REMOTE_TRANSPORT": "none"}
        ranks.append(found)
    effective = {"num_sms": 24, "num_nvl_bytes": 1908410496, "nvl_chunk": 4}
    return {
        "schema": 1,
        "versions": {},
        "requested": run["config"] | {"num_sms": None},
        "effective": effective,
        "ranks": ranks,
    }


def _gpu(host: str, number: int) -> dict[str, Any]:
    def seen(clock: float, watts: float) -> dict[str, Any]:
        return {
            "samples": 6,
            "sm_clock_mhz": [clock - 15 * number, clock],
            "memory_clock_mhz": [2619.0, 2619.0],
            "temperature_c": [31.0 + number, 44.0 + number],
            "power_w": [watts - 100, watts + number],
        }

    return {
        "index": str(number),
        "model": "NVIDIA H100 80GB HBM3",
        "uuid": f"GPU-{host}-{number}",
        "serial": f"165402300{number:04}",
        "driver": "580.159.04",
        "pci": f"00000000:{number + 1:02}:00.0",
        "max_sm_clock_mhz": 1980.0,
        "power_limit_w": 700.0,
        "before": seen(345.0, 110.0),
        "during": seen(1980.0, 512.0) | {"throttled": [], "throttled_s": {"power cap": 0.0, "part": 1.5}},
        "own_test": seen(1980.0, 690.0) | {"throttled": [], "throttled_s": None},
        "after": seen(1980.0, 210.0),
        "throttled": [],
    }


def result_dir(run: dict[str, Any]) -> str:
    """Returns the name of the run's result directory, relative to the run's."""
    return f"results/benchmark_{run['world_size']}_ranks_{STAMP}_{run['mode']}"


def write(path: Path, content: object) -> None:
    """Writes text as it is and anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def write_run(top: Path, run: dict[str, Any]) -> Path:
    """Writes the files of a run that went well and returns its directory."""
    run_dir = top / run["id"]
    for name in ("launch.json", "config.yaml", "env_vars.sh", "hostfile.txt", "stdout.txt", "stderr.txt"):
        write(run_dir / name, f"# made up: {name}\n" if name != "launch.json" else {"hosts": {}})
    write(run_dir / "config.yaml", "".join(f"{k}: {json.dumps(v)}\n" for k, v in run["config"].items()))
    write(run_dir / "job.toml", 'run_id = "made-up"\n')
    write(run_dir / "test-run.toml", 'name = "made-up"\n')
    per_host = run["ranks_per_host"]
    for host in run["hosts"]:
        name, first = host["name"], host["node_rank"] * per_host
        write(run_dir / f"metadata/node-{name}.toml", METADATA.format(host=name))
        write(run_dir / f"logs/{name}.stdout.txt", "[testing] dispatch ... passed\n")
        write(run_dir / f"logs/{name}.stderr.txt", "")
        write(run_dir / f"logs/{name}.supervisor.txt", "started\nended: exit code 0\n")
        write(run_dir / f"logs/{name}.state.json", make_state(run, name))
        marker = {
            "host": name,
            "world_size": run["world_size"],
            "ranks": list(range(first, first + per_host)),
            "completed": True,
        }
        write(run_dir / f"markers/{name}.json", marker)
        for rank in range(first, first + per_host):
            record = {"schema": 1, "rank": rank, "host": name, "local_rank": rank - first, "times": {}}
            write(run_dir / f"ranks/rank-{rank:04d}.json", record)
    for rank in range(run["expect"]["traces"]):
        write(run_dir / f"traces/rank-{rank:04d}.json", {"traceEvents": []})
    results = run_dir / result_dir(run)
    if run["program"] == "bundled":
        write(results / "results.json", [make_record(run, name) for name in run["expect"]["operations"]])
    else:
        seed = {
            "global_bw": 43.0,
            "deepep_time": 0.001,
            "simple_rdma_bw": 43.0,
            "simple_nvl_bw": 0,
            "num_tokens": 128,
            "hidden": 256,
        }
        write(results / "results.json", [seed])
    ranks, config = range(run["world_size"]), run["config"]
    experts = ["# made up\n"]
    for token in range(len(ranks) * config["tokens"]):
        picks = {(token * 5 + pick * 3) % config["num_experts"] for pick in range(config["num_topk"])}
        experts.append(" ".join(map(str, sorted(picks))) + "\n")
    write(results / "token_matrix.txt", "".join(experts))
    rows = (" ".join(f"{64.0 + 8 * ((i * 7 + j * 3) % 11):.3f}" for j in ranks) + "\n" for i in ranks)
    write(results / "token_matrix_kb.txt", "# made up\n" + "".join(rows))
    return run_dir


METADATA = """user = "someone"

[host]
inventory_name = "{host}"
hostname = "made-up"

[system]
os_type = "debian"
linux_kernel_version = "6.1.0"
cpu_model_name = "A made-up CPU <b>with</b> markup"
gpu_arch_type = "null"

[network]
nics = ["eth0", "lo"]
"""


def make_state(run: dict[str, Any], host: str, **changes: Any) -> dict[str, Any]:
    """Returns the state of a host on which all went well, with ``changes``."""
    state = {
        "schema": 1,
        "run": run["id"],
        "host": host,
        "status": "ended",
        "phase": "write",
        "progress": None,
        "pid": 1,
        "start_ticks": 1,
        "boot_id": "made-up",
        "started_at": "2026-01-02T03:04:05.000Z",
        "deadline_at": "2026-01-02T03:34:05.000Z",
        "ended_at": "2026-01-02T03:04:15.500Z",
        "outcome": "exited",
        "exit_code": 0,
        "cause": None,
        "first_failure_at": None,
        "leftovers": [],
    }
    return state | changes


def make_session(status: str = "finished", name: str = "deepep-benchmark") -> dict[str, Any]:
    """Returns a run.json."""
    return {
        "schema": 1,
        "run_id": f"{name}-made-up",
        "scenario": name,
        "stamp": STAMP,
        "started_at": "2026-01-02T03:04:00.000Z",
        "ended_at": None if status == "running" else "2026-01-02T03:05:00.000Z",
        "bundle_dir": f"build/{name}",
        "controller": "made-up",
        "ansible_version": "2.19.14",
        "status": status,
    }


def write_tree(
    top: Path, runs: Sequence[dict[str, Any]], *, status: str = "finished", name: str = "deepep-benchmark"
) -> Path:
    """Writes a whole tree in which every run went well and returns its directory."""
    write(top / "plan.json", make_plan(runs, name))
    write(top / "run.json", make_session(status, name))
    write(top / "events.jsonl", json.dumps({"t": "2026-01-02T03:04:00Z", "event": "session"}) + "\n")
    for run in runs:
        write_run(top, run)
    return top


def change_json(path: Path, change: Callable[[Any], object]) -> None:
    """Applies ``change`` to the JSON value of a file; what it returns is written, or the value it changed."""
    value = json.loads(path.read_text(encoding="utf-8"))
    result = change(value)
    write(path, value if result is None else result)
