"""Bundles under the real ansible-playbook with the real benchmark under torchrun, on two local hosts."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from compiler.resources import host_code
from tests.host.bundles import HOSTS, Bundle, stand_in_run
from tests.host.conftest import wait_until

host_code()

from deepep_host import processes  # noqa: E402


def benchmark_run(entry: str, **changes: Any) -> dict[str, Any]:
    """Returns a small run of the bundled program: 2 hosts, 2 ranks each, backend gloo."""
    config = {
        "tokens": 64, "num_experts": 8, "num_topk": 2, "hidden_size": 256, "data_type": "bfloat16",
        "allow_nvlink_for_low_latency": False, "allow_mnnvl": False, "round_scale": False, "use_ue8m0": False,
        "shuffle_columns": False, "use_kineto_profiler": False, "num_warmups": 1, "num_iterations": 3,
        "mode": "standard", "backend": "gloo", "seed": 1, "process_group_timeout_s": 60,
    }  # fmt: skip
    config.update(changes.pop("config", {}))
    argv = [
        {"join": [{"var": "python"}]}, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2",
        {"join": ["--node-rank=", {"var": "node_rank"}]},
        {"join": ["--master-addr=", {"var": "master_addr"}]},
        {"join": ["--master-port=", {"var": "master_port"}]},
        "--rdzv-backend=static", "--rdzv-conf=timeout=120",
        "--max-restarts=0", "--monitor-interval=0.5", {"join": [{"var": "program_dir"}, "/deepep_bench"]},
        {"join": ["--config=", {"var": "run_dir"}, "/config.yaml"]},
        {"join": ["--output-dir=", {"var": "run_dir"}]},
    ]  # fmt: skip
    expect = {"operations": ["dispatch", "combine"], "world_size": 4, "hosts": 2, "traces": 0,
              "files": ["results.json", "token_matrix.txt", "token_matrix_kb.txt"]}  # fmt: skip
    env = {
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        **changes.pop("env", {}),
    }
    return stand_in_run(
        entry, [], program="bundled", ranks_per_host=2, world_size=4, config=config, argv=argv, expect=expect,
        env=env, time_limit_s=300, **changes,
    )  # fmt: skip


def ranks_on(bundle: Bundle, host: str) -> list[int]:
    """Returns the pids of the ranks of the session that run on one host."""
    marks = {"DEEPEP_RUN_ID": bundle.json("run.json")["run_id"], "DEEPEP_HOST": host}
    pids = processes.with_environment(marks)
    return [pid for pid in pids if "--config=" in processes.command_line(pid) and pid in with_rank()]


def with_rank() -> list[int]:
    """Returns the processes that torchrun gave a rank."""
    return [pid for rank in range(4) for pid in processes.with_environment({"RANK": str(rank)})]


def test_the_benchmark_passes_over_two_hosts_and_its_tree_is_complete(
    tmp_path: Path, torch_python: Path
) -> None:
    bundle = Bundle(tmp_path, [benchmark_run("Tests.1")], python=str(torch_python))
    done = bundle.play()
    assert done.returncode == 0, done.stdout + done.stderr
    assert bundle.verdict("Tests.1/0") == "PASS"
    folder = bundle.session() / "Tests.1/0"
    assert len(list(folder.glob("results/benchmark_4_ranks_*_standard/results.json"))) == 1
    assert {path.name for path in (folder / "markers").iterdir()} == {f"{host}.json" for host in HOSTS}
    assert len(list((folder / "ranks").iterdir())) == 4
    assert not bundle.work_dir.exists()


def test_a_rank_killed_in_the_middle_ends_all_others_and_is_named(tmp_path: Path, torch_python: Path) -> None:
    run = benchmark_run("Tests.1", config={"num_iterations": 1_000_000})
    bundle = Bundle(tmp_path, [run], python=str(torch_python))
    site = subprocess.Popen(
        bundle.command("site.yml"),
        cwd=bundle.folder,
        env=bundle.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )

    def timing() -> bool:
        states = list(bundle.work_dir.glob("*/local-2/runs/Tests.1/0/state.json"))
        return bool(states) and '"phase": "timing"' in states[0].read_text()

    wait_until(timing, 120)
    os.kill(ranks_on(bundle, "local-2")[0], signal.SIGKILL)
    output, _ = site.communicate(timeout=240)
    assert site.returncode == 2, output
    assert bundle.verdict("Tests.1/0") == "FAIL"
    texts = " ".join(reason["text"] for reason in bundle.json("Tests.1/0/verdict.json")["reasons"])
    assert "local-2" in texts
    assert processes.with_environment({"DEEPEP_RUN_ID": bundle.json("run.json")["run_id"]}) == []
    assert not bundle.work_dir.exists()
